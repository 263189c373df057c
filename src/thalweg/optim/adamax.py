"""Adamax: Adam in the infinity norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.optim.base import Hyper, Rule, State, bias_correction, counter, descent, is_on, same_shape_state

__all__ = ["Adamax"]


@dataclass(frozen=True)
class Adamax(Rule):
    r"""Adam with the exponentially weighted **largest** gradient in place of the root mean square.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad u_t = \max(\beta_2 u_{t-1}, \lvert g_t \rvert + \epsilon) \\
        w_t &= w_{t-1} - \frac{\eta}{1 - \beta_1^t} \, \frac{m_t}{u_t}

    The paper has no :math:`\epsilon`; torch adds it, and so does this rule.

    Args:
        lr: rate :math:`\eta \ge 0`.
        betas: :math:`(\beta_1, \beta_2)`, each in [0, 1).
        eps: :math:`\epsilon \ge 0`, added to the magnitude of the gradient.
        weight_decay: :math:`\lambda \ge 0`, L2 in the gradient.
        maximize: ascend instead.

    Shapes:
        ``exp_avg`` and ``exp_inf`` are shaped and laid out like their parameter; ``step`` is 0-dim.

    Raises:
        ValueError: a negative rate, eps or decay, or a beta outside [0, 1).

    References:
        Kingma, Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, section 7.1, algorithm 2.

    >>> import torch
    >>> rule = Adamax(lr=0.1)
    >>> w = torch.tensor([1.0, -2.0])
    >>> w, _ = rule.update(w, torch.tensor([3.0, -0.5]), rule.init(w), rule.hyper())
    >>> [round(x, 4) for x in w.tolist()]
    [0.9, -1.9]
    """

    lr: Any = 2e-3
    betas: tuple[Any, Any] = (0.9, 0.999)
    eps: Any = 1e-8
    weight_decay: Any = 0.0
    maximize: bool = False

    torch_class: ClassVar[str | None] = "Adamax"

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check_betas()
        self._check("eps", low=0.0)
        self._check("weight_decay", low=0.0)
        self._check_flags("maximize")

    def init(self, param: Tensor) -> State:
        return {"step": counter(), **same_shape_state(param, "exp_avg", "exp_inf")}

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        if is_on(hyper["weight_decay"]):
            grad = grad + hyper["weight_decay"] * param
        beta1, beta2 = hyper["betas"]
        step = state["step"] + 1
        exp_avg = beta1 * state["exp_avg"] + (1 - beta1) * grad
        exp_inf = torch.maximum(beta2 * state["exp_inf"], grad.abs() + hyper["eps"])
        size = hyper["lr"] / bias_correction(beta1, step, param)
        return param - size * (exp_avg / exp_inf), {"step": step, "exp_avg": exp_avg, "exp_inf": exp_inf}

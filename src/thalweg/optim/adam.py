"""Adam: adaptive moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.optim.base import Hyper, Rule, State, bias_correction, counter, descent, is_on, same_shape_state

__all__ = ["Adam", "adam_init", "adam_step"]


def adam_init(param: Tensor, *, amsgrad: bool) -> State:
    """Return Adam's state: a 0-dim ``step`` and moments shaped like *param*."""
    names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if amsgrad else ("exp_avg", "exp_avg_sq")
    return {"step": counter(), **same_shape_state(param, *names)}


def adam_step(param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
    """Return one bias-corrected Adam step, the part that Adam and AdamW share; decay is the caller's."""
    beta1, beta2 = hyper["betas"]
    step = state["step"] + 1
    exp_avg = beta1 * state["exp_avg"] + (1 - beta1) * grad
    exp_avg_sq = beta2 * state["exp_avg_sq"] + (1 - beta2) * (grad * grad)
    new_state = {"step": step, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    second = exp_avg_sq
    if "max_exp_avg_sq" in state:
        second = torch.maximum(state["max_exp_avg_sq"], exp_avg_sq)
        new_state["max_exp_avg_sq"] = second
    denominator = second.sqrt() / bias_correction(beta2, step, param).sqrt() + hyper["eps"]
    size = hyper["lr"] / bias_correction(beta1, step, param)
    return param - size * (exp_avg / denominator), new_state


@dataclass(frozen=True)
class Adam(Rule):
    r"""Adam, with L2 in the gradient and optionally AMSGrad's running maximum.

    .. math::
        g_t &\leftarrow g_t + \lambda w_{t-1} \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        w_t &= w_{t-1} - \eta \, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    With ``amsgrad``, :math:`v_t` in the last line is :math:`\max_{s \le t} v_s`, as in torch (the maximum is taken
    before the bias correction).

    Args:
        lr: rate :math:`\eta \ge 0`.
        betas: :math:`(\beta_1, \beta_2)`, each in [0, 1).
        eps: :math:`\epsilon \ge 0`, added after the root.
        weight_decay: :math:`\lambda \ge 0`, **L2 in the gradient**; for decoupled decay take ``AdamW``.
        amsgrad: keep the largest second moment seen.
        maximize: ascend instead.

    Shapes:
        ``exp_avg``, ``exp_avg_sq`` (and ``max_exp_avg_sq``) are shaped and laid out like their parameter; ``step`` is
        0-dim.

    Raises:
        ValueError: a negative rate, eps or decay, or a beta outside [0, 1).

    References:
        Kingma, Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, algorithm 1; Reddi, Kale, Kumar, *On the
        Convergence of Adam and Beyond*, ICLR 2018, algorithm 2 (AMSGrad).

    >>> import torch
    >>> rule = Adam(lr=0.1)
    >>> w = torch.tensor([1.0, -2.0])
    >>> w, state = rule.update(w, torch.tensor([3.0, -0.5]), rule.init(w), rule.hyper())
    >>> [round(x, 4) for x in w.tolist()]   # the first step has the length lr, whatever the gradient
    [0.9, -1.9]
    """

    lr: Any = 1e-3
    betas: tuple[Any, Any] = (0.9, 0.999)
    eps: Any = 1e-8
    weight_decay: Any = 0.0
    amsgrad: bool = False
    maximize: bool = False

    torch_class: ClassVar[str | None] = "Adam"

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check_betas()
        self._check("eps", low=0.0)
        self._check("weight_decay", low=0.0)
        self._check_flags("amsgrad", "maximize")

    def init(self, param: Tensor) -> State:
        return adam_init(param, amsgrad=self.amsgrad)

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        if is_on(hyper["weight_decay"]):
            grad = grad + hyper["weight_decay"] * param
        return adam_step(param, grad, state, hyper)

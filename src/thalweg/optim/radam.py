"""RAdam: Adam whose first steps are rectified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.optim.base import (
    Hyper,
    Rule,
    State,
    bias_correction,
    counter,
    descent,
    is_on,
    same_shape_state,
    scalar_dtype,
)

__all__ = ["RAdam"]


@dataclass(frozen=True)
class RAdam(Rule):
    r"""Adam that leaves out its adaptive scale while too few gradients support it, and rectifies it after.

    .. math::
        \rho_\infty &= \frac{2}{1 - \beta_2} - 1, \qquad \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t} \\
        r_t &= \sqrt{\frac{(\rho_t - 4)(\rho_t - 2)\rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2)\rho_t}} \\
        w_t &= w_{t-1} - \eta \, \frac{m_t}{1 - \beta_1^t} \cdot
            \begin{cases} r_t \sqrt{1 - \beta_2^t} / (\sqrt{v_t} + \epsilon) & \rho_t > 5 \\ 1 & \text{else} \end{cases}

    with Adam's moments. The paper switches at :math:`\rho_t > 4`; 5 is torch's and the author's later choice.

    Args:
        lr: rate :math:`\eta \ge 0`.
        betas: :math:`(\beta_1, \beta_2)`, each in [0, 1).
        eps: :math:`\epsilon \ge 0`, added to the root of the uncorrected second moment.
        weight_decay: :math:`\lambda \ge 0`; L2 in the gradient, or decoupled (see below).
        decoupled_weight_decay: shrink the weights by :math:`\eta\lambda` (RAdamW) instead of adding
            :math:`\lambda w` to the gradient.
        maximize: ascend instead.

    Shapes:
        ``exp_avg`` and ``exp_avg_sq`` are shaped and laid out like their parameter; ``step`` is 0-dim.

    Raises:
        ValueError: a negative rate, eps or decay, or a beta outside [0, 1).

    References:
        Liu, Jiang, He, Chen, Liu, Gao, Han, *On the Variance of the Adaptive Learning Rate and Beyond*, ICLR 2020,
        algorithm 2.

    >>> import torch
    >>> rule = RAdam(lr=0.1)
    >>> w = torch.tensor([1.0])
    >>> w, _ = rule.update(w, torch.tensor([3.0]), rule.init(w), rule.hyper())
    >>> round(w.item(), 4)   # the first five steps are momentum alone: 1 - 0.1 * 3
    0.7
    """

    lr: Any = 1e-3
    betas: tuple[Any, Any] = (0.9, 0.999)
    eps: Any = 1e-8
    weight_decay: Any = 0.0
    decoupled_weight_decay: bool = False
    maximize: bool = False

    torch_class: ClassVar[str | None] = "RAdam"

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check_betas()
        self._check("eps", low=0.0)
        self._check("weight_decay", low=0.0)
        self._check_flags("decoupled_weight_decay", "maximize")

    def init(self, param: Tensor) -> State:
        return {"step": counter(), **same_shape_state(param, "exp_avg", "exp_avg_sq")}

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        if is_on(hyper["weight_decay"]):
            if hyper["decoupled_weight_decay"]:
                param = param * (1 - hyper["lr"] * hyper["weight_decay"])
            else:
                grad = grad + hyper["weight_decay"] * param
        beta1, beta2 = hyper["betas"]
        step = state["step"] + 1
        exp_avg = beta1 * state["exp_avg"] + (1 - beta1) * grad
        exp_avg_sq = beta2 * state["exp_avg_sq"] + (1 - beta2) * (grad * grad)

        # In float64: at beta2 = 0.999 and small t, rho_t is the difference of two numbers near 2000.
        exact = step.to(torch.float64) if step.device.type != "mps" else step
        correction2 = bias_correction(beta2, step, exact)
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * exact * (1 - correction2) / correction2
        ratio = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
        enough = rho > 5
        # Both branches are computed; the one below keeps the root real where it is not taken.
        rectified = (torch.where(enough, ratio, torch.ones_like(ratio)) * correction2).sqrt().to(scalar_dtype(param))
        adaptive = rectified / (exp_avg_sq.sqrt() + hyper["eps"])
        adaptive = torch.where(enough.to(param.device), adaptive, torch.ones_like(adaptive))
        size = hyper["lr"] / bias_correction(beta1, step, param)
        return param - size * (exp_avg * adaptive), {"step": step, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}

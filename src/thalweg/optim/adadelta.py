"""Adadelta: steps in the units of the parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from thalweg.optim.base import Hyper, Rule, State, counter, descent, is_on, same_shape_state

__all__ = ["Adadelta"]


@dataclass(frozen=True)
class Adadelta(Rule):
    r"""The gradient scaled by the ratio of the running sizes of past steps and past gradients; it needs no rate.

    .. math::
        v_t &= \rho v_{t-1} + (1 - \rho) g_t^2, \qquad
            \Delta_t = \frac{\sqrt{u_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}} g_t \\
        u_t &= \rho u_{t-1} + (1 - \rho) \Delta_t^2, \qquad w_t = w_{t-1} - \eta \Delta_t

    Args:
        lr: factor :math:`\eta \ge 0` on the step; 1 is the paper.
        rho: :math:`\rho` in [0, 1], the memory of both averages.
        eps: :math:`\epsilon \ge 0`, inside the roots; it sets the size of the first steps.
        weight_decay: :math:`\lambda \ge 0`, L2 in the gradient.
        maximize: ascend instead.

    Shapes:
        ``square_avg`` and ``acc_delta`` are shaped and laid out like their parameter; ``step`` is 0-dim.

    Raises:
        ValueError: a negative rate, eps or decay, or rho outside [0, 1].

    References:
        Zeiler, *ADADELTA: An Adaptive Learning Rate Method*, 2012, algorithm 1.

    >>> import torch
    >>> rule = Adadelta()
    >>> w = torch.tensor([1.0])
    >>> w, _ = rule.update(w, torch.tensor([3.0]), rule.init(w), rule.hyper())
    >>> round(1 - w.item(), 5)   # sqrt(eps) / sqrt(0.1 * 9) * 3
    0.00316
    """

    lr: Any = 1.0
    rho: Any = 0.9
    eps: Any = 1e-6
    weight_decay: Any = 0.0
    maximize: bool = False

    torch_class: ClassVar[str | None] = "Adadelta"

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check("rho", low=0.0, high=1.0)
        self._check("eps", low=0.0)
        self._check("weight_decay", low=0.0)
        self._check_flags("maximize")

    def init(self, param: Tensor) -> State:
        return {"step": counter(), **same_shape_state(param, "square_avg", "acc_delta")}

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        if is_on(hyper["weight_decay"]):
            grad = grad + hyper["weight_decay"] * param
        rho, eps = hyper["rho"], hyper["eps"]
        square_avg = rho * state["square_avg"] + (1 - rho) * (grad * grad)
        delta = (state["acc_delta"] + eps).sqrt() / (square_avg + eps).sqrt() * grad
        acc_delta = rho * state["acc_delta"] + (1 - rho) * (delta * delta)
        new_state = {"step": state["step"] + 1, "square_avg": square_avg, "acc_delta": acc_delta}
        return param - hyper["lr"] * delta, new_state

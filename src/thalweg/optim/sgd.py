"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.optim.base import Hyper, Rule, State, counter, descent, is_on

__all__ = ["SGD"]


@dataclass(frozen=True)
class SGD(Rule):
    r"""Stochastic gradient descent, with heavy-ball or Nesterov momentum.

    .. math::
        g_t &\leftarrow g_t + \lambda w_{t-1} \\
        b_t &= \mu b_{t-1} + (1 - \tau) g_t, \qquad b_1 = g_1 \\
        w_t &= w_{t-1} - \eta \, (g_t + \mu b_t \text{ if Nesterov, else } b_t)

    Args:
        lr: rate :math:`\eta \ge 0`.
        momentum: :math:`\mu \ge 0`; 0 keeps no state.
        dampening: :math:`\tau`, how much of the gradient the buffer leaves out.
        weight_decay: :math:`\lambda \ge 0`, **L2 in the gradient** (torch's convention: the gradient of
            :math:`\tfrac{\lambda}{2} \lVert w \rVert^2`), not decoupled.
        nesterov: look ahead along the buffer; needs ``momentum > 0`` and ``dampening = 0``.
        maximize: ascend instead.

    Shapes:
        ``momentum_buffer`` is shaped and laid out like its parameter.

    Raises:
        ValueError: a negative rate, momentum or decay, or Nesterov without momentum.

    References:
        Sutskever, Martens, Dahl, Hinton, *On the importance of initialization and momentum in deep learning*, ICML
        2013, section 2, in torch's form, where the rate multiplies the buffer and not the gradient in it.

    >>> import torch
    >>> rule = SGD(lr=0.1, momentum=0.9)
    >>> w = torch.tensor([1.0])
    >>> state = rule.init(w)
    >>> for _ in range(2):
    ...     w, state = rule.update(w, torch.tensor([1.0]), state, rule.hyper())
    >>> round(w.item(), 4)   # 1 - 0.1 * 1 - 0.1 * 1.9
    0.71
    """

    lr: Any = 1e-3
    momentum: Any = 0.0
    dampening: Any = 0.0
    weight_decay: Any = 0.0
    nesterov: bool = False
    maximize: bool = False

    sparse: ClassVar[bool] = True
    torch_class: ClassVar[str | None] = "SGD"

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check("momentum", low=0.0)
        self._check("dampening")
        self._check("weight_decay", low=0.0)
        self._check_flags("nesterov", "maximize")
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError(
                f"SGD: nesterov=True needs momentum > 0 and dampening = 0, got momentum={self.momentum!r}, "
                f"dampening={self.dampening!r}; set e.g. momentum=0.9, dampening=0."
            )

    def init(self, param: Tensor) -> State:
        if self.momentum == 0:
            return {}
        state = {"momentum_buffer": torch.zeros_like(param)}
        if self.dampening != 0:
            # Only with dampening does the first step (b = g, undamped) differ from the recursion from zero.
            state["step"] = counter()
        return state

    def is_local(self, state: State, hyper: Hyper) -> bool:
        return not state and not is_on(hyper["weight_decay"])

    def adopt(self, state: Mapping[str, Any], param: Tensor) -> dict[str, Any]:
        kept = super().adopt(state, param)
        if self.momentum == 0:
            return {}
        if kept and self.dampening != 0:
            # torch keeps no count: a buffer that is there has taken its first, undamped gradient.
            kept.setdefault("step", counter(1.0))
        elif self.dampening == 0:
            kept.pop("step", None)
        return kept

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        if is_on(hyper["weight_decay"]):
            grad = grad + hyper["weight_decay"] * param
        if "momentum_buffer" not in state:
            return param - hyper["lr"] * grad, state
        momentum = hyper["momentum"]
        buffer = momentum * state["momentum_buffer"] + (1 - hyper["dampening"]) * grad
        new_state = {"momentum_buffer": buffer}
        if "step" in state:
            buffer = torch.where(state["step"] == 0, grad, buffer)
            new_state = {"momentum_buffer": buffer, "step": state["step"] + 1}
        direction = grad + momentum * buffer if hyper["nesterov"] else buffer
        return param - hyper["lr"] * direction, new_state

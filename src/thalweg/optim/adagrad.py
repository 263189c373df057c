"""Adagrad: the gradient over the root of all its squares so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.optim.base import Hyper, Rule, State, counter, descent, is_on, scalar_dtype

__all__ = ["Adagrad"]


@dataclass(frozen=True)
class Adagrad(Rule):
    r"""A rate per element that falls with the sum of its squared gradients; rare features keep large steps.

    .. math::
        s_t &= s_{t-1} + g_t^2, \qquad s_0 = \text{initial\_accumulator\_value} \\
        w_t &= w_{t-1} - \frac{\eta}{1 + (t - 1) \, \text{lr\_decay}} \, \frac{g_t}{\sqrt{s_t} + \epsilon}

    Args:
        lr: rate :math:`\eta \ge 0`.
        lr_decay: how fast the rate falls besides, >= 0.
        weight_decay: :math:`\lambda \ge 0`, L2 in the gradient.
        initial_accumulator_value: :math:`s_0 \ge 0`.
        eps: :math:`\epsilon \ge 0`, added after the root.
        maximize: ascend instead.

    Shapes:
        ``sum`` is shaped and laid out like its parameter; ``step`` is 0-dim. Sparse gradients touch their rows only.

    Raises:
        ValueError: a negative hyperparameter.

    References:
        Duchi, Hazan, Singer, *Adaptive Subgradient Methods for Online Learning and Stochastic Optimization*, JMLR 12,
        2011, figure 1, diagonal matrices.

    >>> import torch
    >>> rule = Adagrad(lr=0.1)
    >>> w = torch.tensor([1.0])
    >>> state = rule.init(w)
    >>> for _ in range(2):
    ...     w, state = rule.update(w, torch.tensor([3.0]), state, rule.hyper())
    >>> round(w.item(), 4)   # 1 - 0.1 - 0.1 / sqrt(2)
    0.8293
    """

    lr: Any = 1e-2
    lr_decay: Any = 0.0
    weight_decay: Any = 0.0
    initial_accumulator_value: Any = 0.0
    eps: Any = 1e-10
    maximize: bool = False

    sparse: ClassVar[bool] = True
    torch_class: ClassVar[str | None] = "Adagrad"

    def validate(self) -> None:
        for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            self._check(name, low=0.0)
        self._check_flags("maximize")

    def init(self, param: Tensor) -> State:
        start = float(self.initial_accumulator_value)
        fill = complex(start, start) if param.is_complex() else start
        return {"step": counter(), "sum": torch.full_like(param, fill)}

    def is_local(self, state: State, hyper: Hyper) -> bool:
        return not is_on(hyper["weight_decay"])

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        if is_on(hyper["weight_decay"]):
            grad = grad + hyper["weight_decay"] * param
        total = state["sum"] + grad * grad
        size = hyper["lr"] / (1 + state["step"].to(scalar_dtype(param)) * hyper["lr_decay"])
        return param - size * (grad / (total.sqrt() + hyper["eps"])), {"step": state["step"] + 1, "sum": total}

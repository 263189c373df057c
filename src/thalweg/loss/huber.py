"""Huber's loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from thalweg.errors import check_number
from thalweg.loss.activation import Activation
from thalweg.loss.elementwise import Elementwise

__all__ = ["Huber"]


@dataclass(frozen=True)
class Huber(Elementwise):
    r"""Huber's loss: squared for small errors, absolute for large ones.

    .. math::
        \ell(r) = \begin{cases} r^2 / 2 & |r| \le \delta \\ \delta (|r| - \delta / 2) & \text{otherwise} \end{cases}
        \qquad r = o - y, \quad L = \frac{1}{n} \sum_i \ell(r_i)

    Args:
        delta: Where the parabola goes over into lines, in units of the target; > 0. The gradient of an element is at
            most delta. ``torch.nn.SmoothL1Loss(beta=d)`` is this loss divided by d.

    Shapes: output and target (B, ...) alike; the weight is the number of elements.

    Raises:
        ValueError: delta <= 0; shapes that differ, NaN in the target (from ``check``).

    Source: P. J. Huber, Robust estimation of a location parameter, Annals of Mathematical Statistics 35 (1964), 73-101.

    >>> import torch
    >>> Huber(delta=1.0)(torch.tensor([0.5, 3.0]), torch.tensor([0.0, 0.0]))
    (tensor(2.6250), 2)
    """

    delta: float = 1.0
    activation: Activation = field(default="none", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(
            "Huber",
            "delta",
            self.delta,
            low=0.0,
            low_open=True,
            high=math.inf,
            high_open=True,
            advice="choose a finite number",
        )

    def elements(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.huber_loss(output, target, reduction=reduction, delta=self.delta)

"""A constant factor at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from thalweg.errors import check_number

from .base import Base, FloatArray, IntArray
from .curve import Curve

__all__ = ["Exponential"]


@dataclass(frozen=True, repr=False)
class Exponential(Curve):
    r"""The base times ``gamma`` once more at every step (or epoch, with ``every="epoch"``), without end.

    .. math:: \eta_t = \gamma^t \, \eta

    Args:
        gamma: the factor of one step, > 0; above 1 the value grows.

    Raises:
        ValueError: *gamma* is not positive.

    Source: ``torch.optim.lr_scheduler.ExponentialLR``, of which this is the closed form.

    >>> Exponential(0.5).value(np.arange(4), base=1.0)
    array([1.   , 0.5  , 0.25 , 0.125])
    """

    gamma: float

    name: ClassVar[str] = "exponential"
    durations: ClassVar[tuple[str, ...]] = ()
    span: ClassVar[str | None] = None

    def _check(self) -> None:
        check_number("Exponential", "gamma", self.gamma, low=0.0, low_open=True)

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        return base * np.power(self.gamma, t.astype(np.float64))

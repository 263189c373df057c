"""The base itself, or a fixed multiple of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from thalweg.errors import check_number

from .base import Base, FloatArray, IntArray
from .curve import Curve

__all__ = ["Constant"]


@dataclass(frozen=True, repr=False)
class Constant(Curve):
    r"""A fixed multiple of the base, without end.

    .. math:: \eta_t = \text{factor} \cdot \eta

    ``Constant(1/3).lasting(5) >> Constant()`` is torch's ``ConstantLR(factor=1/3, total_iters=5)``.

    Args:
        factor: >= 0.

    Raises:
        ValueError: *factor* is negative.

    >>> Constant(0.5).value(np.array([0, 1, 1000]), base=0.1)
    array([0.05, 0.05, 0.05])
    """

    factor: float = 1.0

    name: ClassVar[str] = "constant"
    durations: ClassVar[tuple[str, ...]] = ()
    span: ClassVar[str | None] = None

    def _check(self) -> None:
        check_number("Constant", "factor", self.factor, low=0.0)

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        return np.broadcast_to(np.asarray(base * self.factor, dtype=np.float64), t.shape)

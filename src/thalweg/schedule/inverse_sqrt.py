"""The inverse square root of the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Base, FloatArray, IntArray
from .curve import Curve
from .duration import Duration

__all__ = ["InverseSqrt"]


@dataclass(frozen=True, repr=False)
class InverseSqrt(Curve):
    r"""The base over the square root of the time, without end.

    .. math:: \eta_t = \eta \, \sqrt{\frac{\text{timescale}}{t + \text{timescale}}}

    Behind ``Warmup(timescale)`` this is the schedule of the first Transformer, whose curve is
    :math:`\propto \min(s^{-1/2}, s \cdot w^{-3/2})` in the step *s* of the run: give both the same duration.

    Args:
        timescale: after this many steps the value has fallen by :math:`\sqrt 2`, >= 1.

    Raises:
        ValueError: *timescale* is out of range.

    Source: Vaswani et al., Attention Is All You Need (2017), section 5.3; Hugging Face's ``get_inverse_sqrt_schedule``,
    which takes the warm-up's length, else 10,000, as the default.

    >>> InverseSqrt(4).value(np.array([0, 5, 12, 60]), base=1.0)
    array([1.        , 0.66666667, 0.5       , 0.25      ])
    """

    timescale: Duration = 10_000

    name: ClassVar[str] = "inverse_sqrt"
    durations: ClassVar[tuple[str, ...]] = ("timescale",)
    span: ClassVar[str | None] = None

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        assert isinstance(self.timescale, int)
        return base * np.sqrt(self.timescale / (t + self.timescale))

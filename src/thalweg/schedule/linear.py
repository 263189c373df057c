"""A straight line between two factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from thalweg.errors import check_number

from .base import Base, FloatArray, IntArray
from .curve import Curve
from .duration import Duration
from .shape import between

__all__ = ["Linear"]


@dataclass(frozen=True, repr=False)
class Linear(Curve):
    r"""A straight line from ``start_factor`` times the base to ``end_factor`` times the base.

    .. math:: \eta_t = \Big(\text{start} \, (1 - x) + \text{end} \, x\Big) \eta, \qquad x = \min(t / T, 1)

    The defaults are the decay to zero that follows a warm-up in transformer training (Hugging Face's
    ``get_linear_schedule_with_warmup``); torch's ``LinearLR`` has the same parameters and rises from 1/3 to 1 by
    default, which here is :class:`Warmup`.

    Args:
        steps: T; None takes the steps that are left.
        start_factor: >= 0.
        end_factor: >= 0.

    Raises:
        ValueError: a number out of range; on ``resolve``, more steps than the run has.

    >>> Linear(4).value(np.arange(6), base=1.0)
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """

    steps: Duration | None = None
    start_factor: float = 1.0
    end_factor: float = 0.0

    name: ClassVar[str] = "linear"

    def _check(self) -> None:
        check_number("Linear", "start_factor", self.start_factor, low=0.0)
        check_number("Linear", "end_factor", self.end_factor, low=0.0)

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        assert isinstance(self.steps, int)
        return base * between("linear", self.start_factor, self.end_factor, np.minimum(t, self.steps), self.steps)

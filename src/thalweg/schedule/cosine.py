"""A half-cosine down to a floor, or more waves of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from thalweg.errors import check_number

from .base import Base, FloatArray, IntArray
from .curve import Curve
from .duration import Duration
from .floor import check_floor

__all__ = ["Cosine"]


@dataclass(frozen=True, repr=False)
class Cosine(Curve):
    r"""From the base down to ``eta_min`` along a cosine.

    .. math:: \eta_t = \eta_{min} + \tfrac12 (\eta - \eta_{min}) \big(1 + \cos(2 \pi \, \text{num\_cycles} \, x)\big),
        \qquad x = \min(t / T, 1)

    Args:
        steps: T; None takes the steps that are left.
        eta_min: the lowest value, absolute, >= 0.
        num_cycles: waves over the T steps, > 0; 0.5 falls once, 1.0 falls and rises again (as torch's
            ``CosineAnnealingLR`` does when it is stepped on to ``2 * T_max``). Hugging Face's name.

    Raises:
        ValueError: a number out of range; a base below *eta_min*; on ``resolve``, more steps than the run has.

    Source: Loshchilov and Hutter, SGDR (ICLR 2017), equation 5; ``torch.optim.lr_scheduler.CosineAnnealingLR``; Hugging
    Face's ``get_cosine_schedule_with_warmup``.

    >>> Cosine(4, eta_min=0.1).value(np.arange(6), base=1.1).round(4)
    array([1.1   , 0.9536, 0.6   , 0.2464, 0.1   , 0.1   ])
    """

    steps: Duration | None = None
    eta_min: float = 0.0
    num_cycles: float = 0.5

    name: ClassVar[str] = "cosine"

    def _check(self) -> None:
        check_number("Cosine", "eta_min", self.eta_min, low=0.0)
        check_number("Cosine", "num_cycles", self.num_cycles, low=0.0, low_open=True)

    def _check_base(self, base: float) -> None:
        super()._check_base(base)
        check_floor("Cosine", self.eta_min, base)

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        assert isinstance(self.steps, int)
        x = np.minimum(t, self.steps) / self.steps
        f = 0.5 * (1.0 + np.cos(np.pi * self.num_cycles * 2.0 * x))
        return base * f + self.eta_min * (1.0 - f)

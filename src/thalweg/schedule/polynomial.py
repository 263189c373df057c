"""A power of the share of steps that remains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from thalweg.errors import check_number

from .base import Base, FloatArray, IntArray
from .curve import Curve
from .duration import Duration
from .floor import check_floor
from .shape import fall

__all__ = ["Polynomial"]


@dataclass(frozen=True, repr=False)
class Polynomial(Curve):
    r"""From the base down to ``eta_min`` by a power of what remains.

    .. math:: \eta_t = \eta_{min} + (\eta - \eta_{min}) \, (1 - x)^{\text{power}}, \qquad x = \min(t / T, 1)

    Args:
        steps: T; None takes the steps that are left.
        power: > 0; 1 is a straight line.
        eta_min: the value at the end, absolute, >= 0 (Hugging Face's ``lr_end``; torch's ``PolynomialLR`` has 0).

    Raises:
        ValueError: a number out of range; a base below *eta_min*; on ``resolve``, more steps than the run has.

    Source: ``torch.optim.lr_scheduler.PolynomialLR``; Hugging Face's
    ``get_polynomial_decay_schedule_with_warmup``, whose default floor is 1e-7.

    >>> Polynomial(4, power=2.0).value(np.arange(5), base=1.0)
    array([1.    , 0.5625, 0.25  , 0.0625, 0.    ])
    """

    steps: Duration | None = None
    power: float = 1.0
    eta_min: float = 0.0

    name: ClassVar[str] = "polynomial"

    def _check(self) -> None:
        check_number("Polynomial", "power", self.power, low=0.0, low_open=True)
        check_number("Polynomial", "eta_min", self.eta_min, low=0.0)

    def _check_base(self, base: float) -> None:
        super()._check_base(base)
        check_floor("Polynomial", self.eta_min, base)

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        assert isinstance(self.steps, int)
        f = np.power(fall("linear", np.minimum(t, self.steps), self.steps), self.power)
        return base * f + self.eta_min * (1.0 - f)

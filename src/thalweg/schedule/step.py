"""A drop by a factor at regular intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from thalweg.errors import check_number

from .base import Base, FloatArray, IntArray
from .curve import Curve
from .duration import Clock, Duration

__all__ = ["Step"]


@dataclass(frozen=True, repr=False)
class Step(Curve):
    r"""The base times ``gamma`` once more after every ``step_size`` steps, without end.

    .. math:: \eta_t = \gamma^{\lfloor t / \text{step\_size} \rfloor} \, \eta

    Args:
        step_size: the interval, >= 1.
        gamma: the factor of one drop, > 0.

    Raises:
        ValueError: a number out of range; on ``resolve``, a run that ends before the first drop.

    Source: ``torch.optim.lr_scheduler.StepLR``, of which this is the closed form.

    >>> Step(2, gamma=0.5).value(np.arange(6), base=1.0)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25])
    """

    step_size: Duration
    gamma: float = 0.1

    name: ClassVar[str] = "step"
    durations: ClassVar[tuple[str, ...]] = ("step_size",)
    span: ClassVar[str | None] = None

    def _check(self) -> None:
        check_number("Step", "gamma", self.gamma, low=0.0, low_open=True)

    def _check_fit(self, available: int, clock: Clock) -> None:
        assert isinstance(self.step_size, int)
        if self.step_size >= available:
            raise ValueError(
                f"Step: the first drop is due after {self.step_size} {clock.unit}s, but it has {available}, so the "
                "value would never change; lower step_size or train longer."
            )

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        assert isinstance(self.step_size, int)
        return base * np.power(self.gamma, (t // self.step_size).astype(np.float64))

    def changes(self, start: int, stop: int) -> IntArray:
        self._check_resolved()
        assert isinstance(self.step_size, int)
        first, last = self._ticks_between(start, stop)
        drops = np.arange(max(1, -(-first // self.step_size)), -(-last // self.step_size) + 1, dtype=np.int64)
        return self._in_steps(drops * self.step_size, start, stop)

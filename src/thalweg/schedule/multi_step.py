"""A drop by a factor at each of some steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from thalweg.errors import check_number

from .base import Base, FloatArray, IntArray
from .curve import Curve
from .duration import Clock, Duration

__all__ = ["MultiStep"]


@dataclass(frozen=True, repr=False)
class MultiStep(Curve):
    r"""The base times ``gamma`` once more from each milestone on, without end.

    .. math:: \eta_t = \gamma^{\#\{m \le t\}} \, \eta

    Args:
        milestones: durations from the schedule's start, in any order; one that is given twice drops twice.
        gamma: the factor of one drop, > 0.

    Raises:
        TypeError: *milestones* is a single duration.
        ValueError: no milestone; a number out of range; on ``resolve``, a milestone that the run does not reach.

    Source: ``torch.optim.lr_scheduler.MultiStepLR``, of which this is the closed form.

    >>> MultiStep([2, 3], gamma=0.5).value(np.arange(5), base=1.0)
    array([1.  , 1.  , 0.5 , 0.25, 0.25])
    """

    milestones: tuple[Duration, ...] | list[Duration]
    gamma: float = 0.1

    name: ClassVar[str] = "multi_step"
    durations: ClassVar[tuple[str, ...]] = ("milestones",)
    lists: ClassVar[tuple[str, ...]] = ("milestones",)
    span: ClassVar[str | None] = None

    def _check(self) -> None:
        if not isinstance(self.milestones, tuple):
            raise TypeError(f"MultiStep: milestones={self.milestones!r} must be a list of durations, as in [30, 60].")
        if not self.milestones:
            raise ValueError("MultiStep: milestones=[] names no step to drop at; give one, or use Constant().")
        check_number("MultiStep", "gamma", self.gamma, low=0.0, low_open=True)

    def _check_fit(self, available: int, clock: Clock) -> None:
        late = [milestone for milestone in self._milestones().tolist() if milestone >= available]
        if late:
            raise ValueError(
                f"MultiStep: milestones {late} are not reached in {available} {clock.unit}s; "
                "lower them or train longer."
            )

    def _milestones(self) -> IntArray:
        return np.sort(np.asarray(self.milestones, dtype=np.int64))

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        # One power per number of drops, looked up: a table is the same for every block.
        factors = np.power(self.gamma, np.arange(len(self.milestones) + 1, dtype=np.float64))
        return base * factors[np.searchsorted(self._milestones(), t, side="right")]

    def changes(self, start: int, stop: int) -> IntArray:
        self._check_resolved()
        return self._in_steps(np.unique(self._milestones()), start, stop)

"""A length for a schedule that has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from .base import Base, FloatArray, IntArray, Schedule
from .controller import Controller
from .duration import Clock, Duration, check_duration

__all__ = ["Lasting"]


@dataclass(frozen=True, repr=False)
class Lasting(Schedule):
    """A schedule that lasts *steps*, and after them holds the value that it has then.

    Written ``schedule.lasting(steps)``. It lets an endless schedule stand before ``>>``.

    Args:
        schedule: any schedule.
        steps: its length, >= 1.

    Raises:
        ValueError: *steps* is no duration; on ``resolve``, the schedule itself needs more steps.

    >>> import thalweg.schedule as sched
    >>> (sched.Constant(0.5).lasting(2) >> sched.Linear(2)).value(np.arange(5), base=1.0)
    array([0.5, 0.5, 1. , 0.5, 0. ])
    """

    schedule: Schedule
    steps: Duration

    name: ClassVar[str] = "lasting"

    def _check(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise TypeError(
                f"Lasting: schedule={self.schedule!r} is not a schedule, got {type(self.schedule).__name__}."
            )
        check_duration("Lasting", "steps", self.steps)

    @property
    def length(self) -> int | None:
        return self.steps if isinstance(self.steps, int) else None

    @property
    def companions(self) -> Mapping[str, Schedule]:
        return {name: companion.lasting(self.steps) for name, companion in self.schedule.companions.items()}

    @property
    def controllers(self) -> tuple[Controller, ...]:
        return self.schedule.controllers

    def changes(self, start: int, stop: int) -> IntArray:
        assert isinstance(self.steps, int)
        return self.schedule.changes(start, min(stop, self.steps + 1))

    def __repr__(self) -> str:
        inner = repr(self.schedule)
        bare = inner if inner.startswith(f"{type(self.schedule).__name__}(") else f"({inner})"
        return f"{bare}.lasting({self.steps!r})"

    def _check_base(self, base: float) -> None:
        self.schedule._check_base(base)

    def _resolve(self, clock: Clock) -> Self:
        steps = clock.count("Lasting", "steps", self.steps)
        if clock.available is not None and steps > clock.available:
            raise ValueError(
                f"{self!r}: it lasts {steps} steps but has {clock.available}, so it cannot complete; "
                "shorten it or train longer."
            )
        return replace(self, schedule=self.schedule._resolve(clock.within(steps)), steps=steps)

    def _fixed(self, clock: Clock) -> int | None:
        return clock.count("Lasting", "steps", self.steps)

    def _values(self, steps: IntArray, base: Base) -> FloatArray:
        if not isinstance(self.steps, int):
            raise ValueError(f"{self!r}: steps={self.steps!r} is not a count yet; call .resolve(total_steps) first.")
        return self.schedule._at(np.minimum(steps, self.steps), base)


Schedule._lasting = Lasting

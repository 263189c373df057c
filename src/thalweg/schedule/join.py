"""One schedule after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from .base import Base, FloatArray, IntArray, Schedule
from .constant import Constant
from .controller import Controller
from .duration import Clock

__all__ = ["Join"]


@dataclass(frozen=True, repr=False)
class Join(Schedule):
    r"""Schedules one after another, each with a clock that starts at 0.

    .. math:: \eta_t = \text{part}_i(t - s_i), \qquad s_i \le t < s_{i+1}, \quad s_i = \sum_{j<i} \text{length}_j

    Written ``a >> b >> c``. On ``resolve``, shares (``"10%"``) are of the whole run; one part may leave its length open
    and takes the steps that remain, so that ``Warmup("10%") >> Constant() >> Linear("20%")`` holds the base for 70 %.
    The parts hold their values no longer than their lengths, the last one for ever.

    Args:
        parts: at least one schedule; joins among them are taken apart.

    Raises:
        TypeError: a part is no schedule.
        ValueError: no parts; on ``resolve``, two parts of open length, or parts that are longer than the run.

    >>> from thalweg.schedule import Linear, Warmup
    >>> joined = (Warmup("20%") >> Linear()).resolve(10)
    >>> joined
    Warmup(steps=2) >> Linear(steps=8)
    >>> joined.value(np.arange(11), base=1.0)
    array([0.   , 0.5  , 1.   , 0.875, 0.75 , 0.625, 0.5  , 0.375, 0.25 , 0.125, 0.   ])
    """

    parts: tuple[Schedule, ...] | list[Schedule]

    name: ClassVar[str] = "join"

    def _check(self) -> None:
        flat: list[Schedule] = []
        for part in self.parts:
            if not isinstance(part, Schedule):
                raise TypeError(f"Join: the part {part!r} is no schedule, got {type(part).__name__}.")
            flat.extend(part.parts if isinstance(part, Join) else [part])
        if not flat:
            raise ValueError("Join: parts=[] leaves no schedule; give at least one.")
        object.__setattr__(self, "parts", tuple(flat))

    @property
    def length(self) -> int | None:
        lengths = [part.length for part in self.parts]
        known = [length for length in lengths if length is not None]
        return sum(known) if len(known) == len(lengths) else None

    @property
    def companions(self) -> Mapping[str, Schedule]:
        names = dict.fromkeys(name for part in self.parts for name in part.companions)
        return {name: self._companion(name) for name in names}

    def _companion(self, name: str) -> Schedule:
        self._starts()  # says where a length is still unknown
        joined: list[Schedule] = []
        for part in self.parts[:-1]:
            # A part that has nothing to say about the momentum leaves the group's own for as long as it lasts.
            own = part.companions.get(name, Constant())
            if part.length:
                joined.append(own if own.length == part.length else own.lasting(part.length))
        return Join((*joined, self.parts[-1].companions.get(name, Constant())))

    @property
    def controllers(self) -> tuple[Controller, ...]:
        return tuple(controller for part in self.parts for controller in part.controllers)

    def changes(self, start: int, stop: int) -> IntArray:
        starts = self._starts()
        ends = [*starts[1:], max(stop, starts[-1])]
        found = [
            part.changes(max(start - first, 0), min(stop, end) - first) + first
            for part, first, end in zip(self.parts, starts, ends, strict=True)
            if min(stop, end) > first
        ]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def __repr__(self) -> str:
        return " >> ".join(map(repr, self.parts))

    def _check_base(self, base: float) -> None:
        for part in self.parts:
            part._check_base(base)

    def _resolve(self, clock: Clock) -> Join:
        own = [part._fixed(clock) for part in self.parts]
        names = [type(part).__name__ for part in self.parts]
        open_parts = [i for i, length in enumerate(own) if length is None]
        if len(open_parts) > 1:
            raise ValueError(
                f"Join: {' and '.join(names[i] for i in open_parts)} have no length of their own, so it is open how "
                f"they share the steps; give all but one a length, as in {names[open_parts[0]]}(…).lasting(…)."
            )
        needed = sum(length or 0 for length in own)
        if clock.available is not None and needed > clock.available:
            shares = ", ".join(f"{name} {length}" for name, length in zip(names, own, strict=True) if length)
            raise ValueError(
                f"Join: its parts need {needed} steps ({shares}) but it has {clock.available}, so it cannot complete; "
                "shorten the parts or train longer."
            )
        rest = None if clock.available is None else clock.available - needed
        resolved = []
        for i, (part, length) in enumerate(zip(self.parts, own, strict=True)):
            ready = part._resolve(clock.within(rest if length is None else length))
            if length is None and i < len(own) - 1:
                ready = self._ended(ready, names[i], rest)
            resolved.append(ready)
        return Join(tuple(resolved))

    def _ended(self, part: Schedule, name: str, rest: int | None) -> Schedule:
        """Return a part of open length with the length that is left for it."""
        if rest is None:
            raise ValueError(
                f"Join: the total steps are unknown, and {name} takes the steps that remain between the other parts; "
                "pass total_steps=… to resolve, or give it a length."
            )
        if rest == 0:
            raise ValueError(
                f"Join: no steps remain for {name} between the other parts; shorten them, or leave {name} out."
            )
        return part if part.length == rest else part.lasting(rest)

    def _fixed(self, clock: Clock) -> int | None:
        lengths = [part._fixed(clock) for part in self.parts]
        known = [length for length in lengths if length is not None]
        return sum(known) if len(known) == len(lengths) else None

    def _starts(self) -> list[int]:
        """Return the step at which each part starts."""
        starts = [0]
        for part, after in pairwise(self.parts):
            if part.length is None:
                raise ValueError(
                    f"Join: when {part!r} ends and {type(after).__name__} begins is not known yet; call "
                    ".resolve(total_steps) first, or give it a length by .lasting(steps)."
                )
            starts.append(starts[-1] + part.length)
        return starts

    def _values(self, steps: IntArray, base: Base) -> FloatArray:
        starts = self._starts()
        # A part of length 0 shares its start with the next one and is never the last that has begun.
        active = np.searchsorted(starts, steps, side="right") - 1
        values = np.empty(steps.shape, dtype=np.float64)
        for i in np.unique(active):
            here = active == i
            values[here] = self.parts[i]._at(
                steps[here] - starts[i], base[here] if isinstance(base, np.ndarray) else base
            )
        return values


def _join(first: Schedule, then: Schedule) -> Join:
    return Join((first, then))


Schedule._join = _join

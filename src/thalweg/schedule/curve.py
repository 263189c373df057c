"""A single curve: a schedule with durations of its own and a clock that ticks per update or per epoch."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self

from thalweg.errors import unknown_name

from .base import Base, FloatArray, IntArray, Schedule
from .duration import Clock, check_duration

__all__ = ["Curve"]


@dataclass(frozen=True, repr=False)
class Curve(Schedule):
    """A schedule that is one formula of its own clock.

    A subclass names its duration fields in ``durations`` (those that hold several also in ``lists``) and, in ``span``,
    the one that takes the steps that are left when it is None; without a ``span`` it is endless. Its durations are at
    least ``shortest``. It provides :meth:`_curve`.

    Args:
        every: ``"step"`` evaluates the formula at every update; ``"epoch"`` at whole epochs since its start, and then
            bare counts (``Step(step_size=30, every="epoch")``) are epochs.
        steps_per_epoch: updates in an epoch; filled in by ``resolve`` for ``every="epoch"``.

    >>> import numpy as np
    >>> from thalweg.schedule import Duration
    >>> @dataclass(frozen=True, repr=False)
    ... class Triangle(Curve):
    ...     steps: Duration | None = None
    ...     name = "triangle"
    ...     def _curve(self, t, base):
    ...         return base * np.maximum(1.0 - np.abs(2.0 * t / self.steps - 1.0), 0.0)
    >>> Triangle("50%").resolve(16)
    Triangle(steps=8)
    >>> Triangle(4).value(np.arange(6), base=2.0)
    array([0., 1., 2., 1., 0., 0.])
    """

    every: Literal["step", "epoch"] = field(default="step", kw_only=True)
    steps_per_epoch: int | None = field(default=None, kw_only=True)

    durations: ClassVar[tuple[str, ...]] = ("steps",)
    span: ClassVar[str | None] = "steps"
    lists: ClassVar[tuple[str, ...]] = ()
    shortest: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        who = type(self).__name__
        if self.every not in ("step", "epoch"):
            raise unknown_name(f"{who} every", "clock", self.every, ["step", "epoch"])
        optional = {one.name for one in fields(self) if one.default is None}
        for name in self.durations:
            given = getattr(self, name)
            if given is None and name in optional:
                continue
            for value in given if name in self.lists and isinstance(given, tuple) else (given,):
                check_duration(who, name, value, self.shortest)

    @property
    def length(self) -> int | None:
        ticks = self._ticks()
        if ticks is None:
            return None
        return ticks * (self.steps_per_epoch or 1) if self.every == "epoch" else ticks

    def _ticks(self) -> int | None:
        """Return the ticks of its own clock that the curve lasts, or None."""
        own = getattr(self, self.span) if self.span else None
        return own if isinstance(own, int) else None

    @abstractmethod
    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        """Return the formula at ticks *t*, shape ``(n,)``, every duration being a count."""

    @property
    def _takes_rest(self) -> bool:
        """Whether the length is left open, for the steps that remain."""
        return self.span is not None and getattr(self, self.span) is None

    def _fixed(self, clock: Clock) -> int | None:
        return None if self._takes_rest else self._resolve(clock).length

    def _resolve(self, clock: Clock) -> Self:
        who = type(self).__name__
        own = clock.epochs(who) if self.every == "epoch" else clock
        counts: dict[str, Any] = {}
        for name in self.durations:
            given = getattr(self, name)
            if isinstance(given, tuple):
                counts[name] = tuple(own.count(who, name, value, self.shortest) for value in given)
            elif given is not None:
                counts[name] = own.count(who, name, given, self.shortest)
        if self._takes_rest:
            assert self.span is not None
            counts[self.span] = self._rest(own, counts)
        if self.every == "epoch":
            counts["steps_per_epoch"] = clock.steps_per_epoch
        resolved = replace(self, **counts)
        if own.available is not None:
            resolved._check_fit(own.available, own)
        return resolved

    def _rest(self, clock: Clock, counts: dict[str, Any]) -> int:
        """Return the ticks that the open field takes."""
        who = type(self).__name__
        if clock.available is None:
            raise ValueError(
                f"{who}: the total steps are unknown, and {self.span}=None means all that are left; "
                f"pass total_steps=… to resolve, or give {self.span}."
            )
        if clock.available < self.shortest:
            raise ValueError(
                f"{who}: no {clock.unit}s are left for it ({clock.available} of {clock.total}); "
                "shorten the parts before it or train longer."
            )
        return clock.available

    def _check_fit(self, available: int, clock: Clock) -> None:
        """Raise where the curve cannot complete in the ticks that are there."""
        ticks = self._ticks()
        if ticks is not None and ticks > available:
            whole = "" if available == clock.total else f" of a run of {clock.total}"
            raise ValueError(
                f"{type(self).__name__}: it lasts {ticks} {clock.unit}s but has {available}{whole}, "
                "so it cannot complete; shorten it or train longer."
            )

    def _values(self, steps: IntArray, base: Base) -> FloatArray:
        self._check_resolved()
        if self.every == "epoch":
            assert self.steps_per_epoch is not None
            steps = steps // self.steps_per_epoch
        return self._curve(steps, base)

    def _check_resolved(self) -> None:
        who = type(self).__name__
        if self.every == "epoch" and self.steps_per_epoch is None:
            raise ValueError(
                f'{who}: every="epoch" needs the steps per epoch; call .resolve(total_steps, steps_per_epoch) first.'
            )
        for name in self.durations:
            value = getattr(self, name)
            if (self._takes_rest and name == self.span) or any(isinstance(one, (float, str)) for one in _each(value)):
                raise ValueError(f"{who}: {name}={value!r} is not a count yet; call .resolve(total_steps) first.")

    def _in_steps(self, ticks: IntArray, start: int, stop: int) -> IntArray:
        """Return ascending *ticks* as the steps within ``[start, stop)``."""
        steps = ticks * (self.steps_per_epoch or 1) if self.every == "epoch" else ticks
        return steps[(steps >= start) & (steps < stop)]

    def _ticks_between(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of ticks that covers the steps ``[start, stop)``."""
        per = (self.steps_per_epoch or 1) if self.every == "epoch" else 1
        return start // per, -(-stop // per)


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)

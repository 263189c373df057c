"""How long: counts, ``"10%"``, ``"500 steps"``, ``"2 epochs"``, ratios, and the clock that turns them into counts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from thalweg.errors import unknown_name

__all__ = ["Clock", "Duration", "check_duration"]

Duration = int | float | str

UNITS = {"%": "ratio", "step": "step", "steps": "step", "epoch": "epoch", "epochs": "epoch"}
TEXT = re.compile(r"\s*(?P<amount>[+-]?(?:\d+\.?\d*|\.\d+))\s*(?P<unit>.*?)\s*")


def read(who: str, name: str, value: object) -> tuple[Fraction, str]:
    """Return an exact amount and its unit: ``"tick"`` (a bare count), ``"step"``, ``"epoch"`` or ``"ratio"``.

    Amounts are fractions, so that ``"10%"`` of 30 is 3 and not 3.0000000000000004 rounded up.

    Raises:
        TypeError: *value* is neither an int, nor a float in (0, 1), nor a text.
        ValueError: a text without an amount or with an unknown unit.

    >>> read("Warmup", "steps", "2.5 epochs")
    (Fraction(5, 2), 'epoch')
    """
    if isinstance(value, str):
        found = TEXT.fullmatch(value)
        if found is None:
            raise ValueError(
                f"{who}: {name}={value!r} is no duration: it must begin with a number; "
                'write a count, "10%", "500 steps" or "2 epochs".'
            )
        if not found["unit"]:
            raise ValueError(
                f'{who}: {name}={value!r} has no unit; write "{found["amount"]} steps", '
                f'"{found["amount"]} epochs", "{found["amount"]}%", or pass the count as an int.'
            )
        if found["unit"] not in UNITS:
            raise unknown_name(f"{who} {name}={value!r}", "unit", found["unit"], UNITS)
        unit = UNITS[found["unit"]]
        return Fraction(found["amount"]) / (100 if unit == "ratio" else 1), unit
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(
            f"{who}: {name}={value!r} is a {type(value).__name__}, not a duration; "
            'pass an int, a ratio in (0, 1), "10%", "500 steps" or "2 epochs".'
        )
    if isinstance(value, int):
        return Fraction(value), "tick"
    if not 0.0 < value < 1.0:
        raise ValueError(
            f"{who}: {name}={value!r} is a float, and a float is a ratio of the run, strictly between 0 and 1; "
            "pass an int for a count."
        )
    return Fraction(repr(value)), "ratio"


def check_duration(who: str, name: str, value: object, shortest: int = 1) -> None:
    """Raise unless *value* is a duration that can be resolved.

    Args:
        who: the schedule's name, for the message.
        name: the field's name, for the message.
        value: an int (a count), a float in (0, 1) (a ratio), or a text with a unit.
        shortest: the least count.

    Raises:
        TypeError: not a duration at all.
        ValueError: negative, shorter than *shortest*, above 100 %, without a unit or with an unknown one.

    >>> check_duration("Warmup", "steps", "5 epoks")
    Traceback (most recent call last):
    ...
    ValueError: Warmup steps='5 epoks': unknown unit 'epoks'. Did you mean 'epochs'? Known: %, epoch, epochs, ...
    """
    amount, unit = read(who, name, value)
    if amount < 0:
        raise ValueError(f"{who}: {name}={value!r} is negative, and a duration cannot be; pass {shortest} or more.")
    if (unit == "tick" and amount < shortest) or amount == 0 < shortest:
        raise ValueError(f"{who}: {name}={value!r} is too short; it must be at least {shortest}.")
    if unit == "ratio" and amount > 1:
        raise ValueError(f"{who}: {name}={value!r} is longer than the run; a share of the run is at most 100%.")


@dataclass(frozen=True)
class Clock:
    """The run that durations are resolved against.

    Args:
        total: ticks of the whole run, or None where they are unknown; shares (``"10%"``) are of this number.
        steps_per_epoch: updates in an epoch, or None where they are unknown.
        available: ticks that are left for the schedule being resolved (less than *total* behind a join).
        unit: what a tick is: an update (``"step"``) or an epoch.
    """

    total: int | None
    steps_per_epoch: int | None
    available: int | None
    unit: Literal["step", "epoch"] = "step"

    @classmethod
    def of(cls, who: str, total_steps: int | None, steps_per_epoch: int | None) -> Clock:
        """Return the clock of a run, its numbers checked.

        Raises:
            TypeError: a number is not an int.
            ValueError: a number is below 1.
        """
        for name, value in (("total_steps", total_steps), ("steps_per_epoch", steps_per_epoch)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{who}: {name}={value!r} must be an int or None, got {type(value).__name__}.")
            if value < 1:
                raise ValueError(f"{who}: {name}={value} must be >= 1; a run without updates has no schedule.")
        return cls(total_steps, steps_per_epoch, total_steps)

    def within(self, available: int | None) -> Clock:
        """Return the same clock with another number of ticks left."""
        return replace(self, available=available)

    def epochs(self, who: str) -> Clock:
        """Return the clock that counts epochs; a begun epoch counts as one.

        Raises:
            ValueError: the steps per epoch are unknown.
        """
        per = self.steps_per_epoch
        if per is None:
            raise ValueError(
                f'{who}: every="epoch" needs the steps per epoch, which are unknown here; '
                "pass steps_per_epoch=… to resolve."
            )
        total, available = (None if n is None else math.ceil(Fraction(n, per)) for n in (self.total, self.available))
        return Clock(total, per, available, "epoch")

    def count(self, who: str, name: str, value: Duration, shortest: int = 1) -> int:
        """Return a duration as a whole number of ticks, halves rounded up.

        Raises:
            ValueError: it needs the total or the steps per epoch and these are unknown; it is shorter than
                *shortest* once resolved; or it is not a whole number of epochs on a clock that counts epochs.

        >>> clock = Clock.of("Warmup", total_steps=300, steps_per_epoch=100)
        >>> [clock.count("Warmup", "steps", d) for d in (7, "10%", 0.25, "0.5 epochs", "20 steps")]
        [7, 30, 75, 50, 20]
        >>> clock.epochs("Warmup").count("Warmup", "steps", "200 steps")
        2
        """
        check_duration(who, name, value, shortest)
        amount, unit = read(who, name, value)
        if unit == "ratio":
            if self.total is None:
                raise ValueError(
                    f"{who}: {name}={value!r} is a share of the run, whose total steps are unknown here; "
                    "pass total_steps=… to resolve, or give a count."
                )
            amount *= self.total
        elif unit not in ("tick", self.unit):
            per = self.steps_per_epoch
            if per is None:
                raise ValueError(
                    f"{who}: {name}={value!r} needs the steps per epoch, which are unknown here; "
                    "pass steps_per_epoch=… to resolve, or give a count of steps."
                )
            amount = amount * per if unit == "epoch" else amount / per
        if self.unit == "epoch" and unit != "ratio" and amount.denominator != 1:
            raise ValueError(
                f'{who}: {name}={value!r} is not a whole number of epochs, but every="epoch" counts whole epochs; '
                'give whole epochs, or use every="step".'
            )
        ticks = math.floor(amount + Fraction(1, 2))
        if ticks < shortest:
            raise ValueError(
                f"{who}: {name}={value!r} comes to {ticks} {self.unit}s of this run; it must be at least {shortest}."
            )
        return ticks

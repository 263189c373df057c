"""Cosine annealing with warm restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from thalweg.errors import check_number

from .base import Base, FloatArray, IntArray
from .curve import Curve
from .duration import Clock, Duration
from .floor import check_floor
from .shape import fall

__all__ = ["CosineRestarts"]


@dataclass(frozen=True, repr=False)
class CosineRestarts(Curve):
    r"""Cosine annealing that starts again at the base: cycle *k* lasts ``T_0 · T_mult^k`` steps.

    .. math:: \eta_t = \eta_{min} + \tfrac12 (\max(\eta \, d^k, \eta_{min}) - \eta_{min}) (1 + \cos \pi x),
        \qquad x = \frac{t - \text{start}_k}{T_0 \, T_{mult}^k},
        \quad \text{start}_k = T_0 \sum_{i<k} T_{mult}^i

    with *d* = ``cycle_decay``. Give either ``T_0`` (cycles without end, the last one cut off by the run's end) or
    ``num_cycles`` (that many cycles, which end with the steps that are left).

    Args:
        T_0: the first cycle's length.
        T_mult: every cycle is this many times as long as the one before, an int >= 1.
        eta_min: the lowest value, absolute, >= 0.
        num_cycles: how many cycles share the steps, >= 1; boundaries may lie between two steps.
        cycle_decay: every cycle starts at this multiple of the one before, in (0, 1], but not below *eta_min*.
        steps: with *num_cycles*, the length of all cycles together; None takes the steps that are left.

    Raises:
        TypeError: *T_mult* or *num_cycles* is not an int.
        ValueError: both or neither of *T_0* and *num_cycles*; a number out of range; on ``resolve``, a first cycle
            that is longer than the run or shorter than a step.

    Source: Loshchilov and Hutter, SGDR (ICLR 2017), section 3;
    ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``; with ``num_cycles``
    Hugging Face's ``get_cosine_with_hard_restarts_schedule_with_warmup``.

    >>> CosineRestarts(T_0=2, T_mult=2).value(np.arange(7), base=1.0).round(4)
    array([1.    , 0.5   , 1.    , 0.8536, 0.5   , 0.1464, 1.    ])
    >>> CosineRestarts(num_cycles=3).resolve(6).value(np.arange(7), base=1.0).round(4)
    array([1. , 0.5, 1. , 0.5, 1. , 0.5, 0. ])
    """

    T_0: Duration | None = None
    T_mult: int = 1
    eta_min: float = 0.0
    num_cycles: int | None = None
    cycle_decay: float = 1.0
    steps: Duration | None = None

    name: ClassVar[str] = "cosine_restarts"
    durations: ClassVar[tuple[str, ...]] = ("T_0", "steps")

    def _check(self) -> None:
        who = "CosineRestarts"
        if (self.T_0 is None) == (self.num_cycles is None):
            raise ValueError(
                f"{who}: T_0={self.T_0!r} and num_cycles={self.num_cycles!r}: exactly one of them must be given; "
                "T_0 is the first cycle's length, num_cycles divides the steps that are left."
            )
        if self.T_0 is not None and self.steps is not None:
            raise ValueError(
                f"{who}: steps={self.steps!r} goes with num_cycles, but T_0={self.T_0!r} was given; "
                "write CosineRestarts(T_0=…).lasting(steps) to end after some steps."
            )
        for name, value in (("T_mult", self.T_mult), ("num_cycles", self.num_cycles)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{who}: {name}={value!r} must be an int, got {type(value).__name__}.")
            check_number(who, name, value, low=1)
        check_number(who, "eta_min", self.eta_min, low=0.0)
        check_number(who, "cycle_decay", self.cycle_decay, low=0.0, low_open=True, high=1.0)

    def _check_base(self, base: float) -> None:
        super()._check_base(base)
        check_floor("CosineRestarts", self.eta_min, base)

    @property
    def _parts(self) -> int:
        """The length of all cycles in units of the first one: 1 + T_mult + … + T_mult^(num_cycles − 1)."""
        return sum(self.T_mult**k for k in range(self.num_cycles or 1))

    @property
    def _takes_rest(self) -> bool:
        return self.T_0 is None and self.steps is None

    def _check_fit(self, available: int, clock: Clock) -> None:
        super()._check_fit(available, clock)
        if isinstance(self.T_0, int) and available < self.T_0:
            raise ValueError(
                f"CosineRestarts: the first cycle lasts T_0={self.T_0} {clock.unit}s but it has {available}, "
                "so it cannot complete; lower T_0 or train longer."
            )
        if isinstance(self.steps, int) and self._parts > self.steps:
            raise ValueError(
                f"CosineRestarts: num_cycles={self.num_cycles} with T_mult={self.T_mult} divide {self.steps} "
                f"{clock.unit}s into {self._parts} parts, so the first cycle is shorter than one; ask for fewer cycles."
            )

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        # Time in parts of a step, so that every cycle's start and length is a whole number.
        first, parts, end = (self.T_0, 1, None) if self.num_cycles is None else (self.steps, self._parts, self.steps)
        assert isinstance(first, int)
        assert end is None or isinstance(end, int)
        u = (t if end is None else np.minimum(t, end)) * parts
        if self.T_mult == 1:
            cycle = u // first
            start, length = cycle * first, np.asarray(first)
        else:
            starts = [0]
            while starts[-1] <= u.max():
                starts.append(starts[-1] * self.T_mult + first)
            cycle = np.searchsorted(starts, u, side="right") - 1
            start, length = np.asarray(starts)[cycle], np.diff(starts)[cycle]
        f = fall("cosine", u - start, length)
        if end is not None:
            f = np.where(t >= end, 0.0, f)
            cycle = np.where(t >= end, cycle - 1, cycle)
        peak = np.maximum(base * np.power(self.cycle_decay, cycle.astype(np.float64)), self.eta_min)
        return peak * f + self.eta_min * (1.0 - f)

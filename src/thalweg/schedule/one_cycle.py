"""One cycle: the rate up and far down again, the momentum down and up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from thalweg.errors import check_number, unknown_name

from .base import Base, FloatArray, IntArray, Schedule
from .curve import Curve
from .duration import Clock, Duration
from .momentums import check_momentums
from .shape import Shape, between

__all__ = ["OneCycle", "OneCycleMomentum"]

ANNEALING: dict[str, Shape] = {"cos": "cosine", "linear": "linear"}


@dataclass(frozen=True, repr=False)
class _Phases(Curve):
    """The phases that rate and momentum share: two or three, joined, each from one value to the next."""

    steps: Duration | None = None
    pct_start: float = 0.25
    anneal_strategy: Literal["cos", "linear"] = "cos"
    three_phase: bool = False
    endpoint: bool = False

    def _check(self) -> None:
        who = type(self).__name__
        advice = "it is the share of the steps that the rise takes"
        check_number(who, "pct_start", self.pct_start, low=0.0, low_open=True, high=1.0, high_open=True, advice=advice)
        if self.three_phase and self.pct_start >= 0.5:
            raise ValueError(
                f"{who}: pct_start={self.pct_start} must be < 0.5 with three_phase=True, because the fall takes as "
                "long as the rise and a third phase follows; lower pct_start."
            )
        if self.anneal_strategy not in ANNEALING:
            raise unknown_name(f"{who} anneal_strategy", "strategy", self.anneal_strategy, ANNEALING)

    def _ends(self) -> list[float]:
        """Return the time at which each phase ends."""
        assert isinstance(self.steps, int)
        # With endpoint=True the peak and the end are met at steps that are used, one earlier (torch's count).
        early = 1.0 if self.endpoint else 0.0
        rise = self.pct_start * self.steps
        falls = [2.0 * rise - 2.0 * early] if self.three_phase else []
        return [rise - early, *falls, self.steps - early]

    def _check_fit(self, available: int, clock: Clock) -> None:
        super()._check_fit(available, clock)
        self._check_phases()

    def _check_phases(self) -> None:
        ends = self._ends()
        if any(after <= before for before, after in zip([0.0, *ends], ends, strict=False)):
            raise ValueError(
                f"{type(self).__name__}: pct_start={self.pct_start} of {self.steps} steps leaves a phase without a "
                f"step (the phases would end at {', '.join(f'{end:g}' for end in ends)}); train longer or move "
                "pct_start."
            )

    def _way(self, t: IntArray, values: list[Base]) -> FloatArray:
        """Return the way through *values*, one more than there are phases, at times *t*, shape ``(n,)``."""
        self._check_phases()
        ends = self._ends()
        shape = ANNEALING[self.anneal_strategy]
        result = np.empty(t.shape, dtype=np.float64)
        phase = np.searchsorted(ends[:-1], t, side="left")
        starts = [0.0, *ends[:-1]]
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            here = phase == i
            if here.any():
                # Over the whole block, so that no value depends on where the block is split.
                time = np.clip(t.astype(np.float64), start, end) - start
                result = np.where(here, between(shape, values[i], values[i + 1], time, end - start), result)
        return result


@dataclass(frozen=True, repr=False)
class OneCycleMomentum(_Phases):
    r"""The momentum that belongs to a one-cycle rate: down while the rate rises, up while it falls.

    The values are absolute; the base plays no part.

    Args:
        steps, pct_start, anneal_strategy, three_phase, endpoint: as in :class:`OneCycle`.
        moms: (first, at the peak of the rate, last), each in [0, 1).

    >>> OneCycleMomentum(4, pct_start=0.5).value(np.arange(5), base=0.0)
    array([0.95, 0.9 , 0.85, 0.9 , 0.95])
    """

    moms: tuple[float, float, float] = (0.95, 0.85, 0.95)

    name: ClassVar[str] = "one_cycle_momentum"

    def _check(self) -> None:
        super()._check()
        check_momentums("OneCycleMomentum", self.moms, ("first", "at the peak", "last"))

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        first, middle, last = self.moms
        return self._way(t, [first, middle, *([last] if self.three_phase else []), last])


@dataclass(frozen=True, repr=False)
class OneCycle(_Phases):
    r"""From a fraction of the peak up to the peak, then down to almost nothing.

    .. math:: \frac{\eta}{\text{div}} \;\to\; \eta \;\to\; \frac{\eta}{\text{div\_final}}

    along cosines or lines; with ``three_phase`` the rate first falls as far as it rose, in the same time, and only then
    to the end. The base :math:`\eta` is the peak, so that groups keep their ratio. ``.companions["momentum"]`` is the
    momentum of the same phases.

    The parameters are fastai's, with its defaults. torch's ``OneCycleLR(max_lr, total_steps=T, pct_start=p,
    div_factor=d, final_div_factor=f)`` is ``OneCycle(T, p, div=d, div_final=d * f, endpoint=True)`` at the base
    ``max_lr``: torch divides the end from the start instead of the peak, and reaches peak and end one step earlier, so
    that the last update already has the final rate (there ``pct_start`` is 0.3 by default and ``f`` 1e4).

    Args:
        steps: T; None takes the steps that are left.
        pct_start: the share of the steps that the rise takes, in (0, 1); below 0.5 with ``three_phase``.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        three_phase: fall as far as it rose before the final descent.
        endpoint: True: the last of the steps has the final value, as in ``numpy.linspace``; False: it is reached
            after the last step.
        max_lr: the peak as an absolute rate in place of the base; a base above it is refused.
        div: peak over start, >= 1.
        div_final: peak over end, >= 1.
        moms: momentum (first, at the peak, last); empty or None leaves the momentum alone.

    Raises:
        ValueError: a number out of range; a base above *max_lr*; on ``resolve``, more steps than the run has, or so few
            that a phase has none.

    Source: Smith and Topin, Super-Convergence (2018); fastai's ``fit_one_cycle`` (``combined_cos``);
    ``torch.optim.lr_scheduler.OneCycleLR``.

    >>> cycle = OneCycle(4, pct_start=0.5, div=10, div_final=100)
    >>> cycle.value(np.arange(5), base=1.0)
    array([0.1  , 0.55 , 1.   , 0.505, 0.01 ])
    >>> cycle.companions["momentum"].value(np.arange(5), base=0.9)
    array([0.95, 0.9 , 0.85, 0.9 , 0.95])
    """

    max_lr: float | None = None
    div: float = 25.0
    div_final: float = 1e5
    moms: tuple[float, float, float] | tuple[()] | None = (0.95, 0.85, 0.95)

    name: ClassVar[str] = "one_cycle"

    def _check(self) -> None:
        super()._check()
        if self.max_lr is not None:
            check_number("OneCycle", "max_lr", self.max_lr, low=0.0, low_open=True)
        check_number("OneCycle", "div", self.div, low=1.0)
        check_number("OneCycle", "div_final", self.div_final, low=1.0)
        if self.moms is None:
            object.__setattr__(self, "moms", ())  # plain data leaves None out, and then the default would come back
        if self.moms:
            check_momentums("OneCycle", self.moms, ("first", "at the peak", "last"))

    def _check_base(self, base: float) -> None:
        super()._check_base(base)
        if self.max_lr is not None and base > self.max_lr:
            raise ValueError(
                f"OneCycle: the group's base {base} is above max_lr={self.max_lr}, and both cannot be the peak; "
                "leave max_lr out to peak at the base, or lower the base."
            )

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        peak = base if self.max_lr is None else self.max_lr
        first, last = peak / self.div, peak / self.div_final
        return self._way(t, [first, peak, *([first] if self.three_phase else []), last])

    @property
    def companions(self) -> Mapping[str, Schedule]:
        if not self.moms:
            return {}
        return {
            "momentum": OneCycleMomentum(
                self.steps,
                self.pct_start,
                self.anneal_strategy,
                self.three_phase,
                self.endpoint,
                moms=self.moms,
                every=self.every,
                steps_per_epoch=self.steps_per_epoch,
            )
        }

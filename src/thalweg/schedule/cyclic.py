"""A rate that goes up and down between two bounds, and the momentum that goes the other way."""

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

__all__ = ["Cyclic", "CyclicMomentum"]

MODES = ("triangular", "triangular2", "exp_range")


@dataclass(frozen=True, repr=False)
class _Triangles(Curve):
    """The triangles that both cycles are made of: up over one duration, down over another, without end."""

    step_size_up: Duration = 2000
    step_size_down: Duration | None = None
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: float = 1.0

    durations: ClassVar[tuple[str, ...]] = ("step_size_up", "step_size_down")
    span: ClassVar[str | None] = None

    def _check(self) -> None:
        who = type(self).__name__
        if self.mode not in MODES:
            raise unknown_name(f"{who} mode", "mode", self.mode, MODES)
        check_number(who, "gamma", self.gamma, low=0.0, low_open=True, high=1.0)
        if self.gamma != 1.0 and self.mode != "exp_range":
            raise ValueError(
                f'{who}: gamma={self.gamma} belongs to mode="exp_range", but mode={self.mode!r} shrinks no cycle by '
                "it; set that mode or leave gamma out."
            )

    def _sizes(self) -> tuple[int, int]:
        up = self.step_size_up
        down = up if self.step_size_down is None else self.step_size_down
        assert isinstance(up, int)
        assert isinstance(down, int)
        return up, down

    def _check_fit(self, available: int, clock: Clock) -> None:
        up, down = self._sizes()
        if up + down > available:
            raise ValueError(
                f"{type(self).__name__}: one cycle lasts {up} + {down} {clock.unit}s but it has {available}, so not "
                "one can complete; lower step_size_up or train longer."
            )

    def _height(self, t: IntArray) -> FloatArray:
        """Return how far up the triangle *t* is, times the cycle's scale; 0 at a cycle's ends, shape ``(n,)``."""
        up, down = self._sizes()
        cycle, within = np.divmod(t, up + down)
        height = np.where(within <= up, within / up, (up + down - within) / down)
        if self.mode == "triangular2":
            return np.ldexp(height, -np.minimum(cycle, 2000).astype(np.int32))  # 2**-2000 is zero already
        if self.mode == "exp_range":
            return height * np.power(self.gamma, t.astype(np.float64))
        return height


@dataclass(frozen=True, repr=False)
class CyclicMomentum(_Triangles):
    r"""The momentum that belongs to a cyclic rate: highest where the rate is lowest.

    .. math:: m_t = m_{max} - (m_{max} - m_{min}) \, s_t \, \wedge_t

    with the triangle :math:`\wedge_t` and the scale :math:`s_t` of :class:`Cyclic`. The base plays no part.

    Args:
        step_size_up, step_size_down, mode, gamma: as in :class:`Cyclic`.
        moms: (highest, lowest) momentum, each in [0, 1).

    Source: ``torch.optim.lr_scheduler.CyclicLR``, whose ``max_momentum`` and ``base_momentum`` these are.

    >>> CyclicMomentum(2, moms=(0.9, 0.8)).value(np.arange(5), base=0.5)
    array([0.9 , 0.85, 0.8 , 0.85, 0.9 ])
    """

    moms: tuple[float, float] = (0.9, 0.8)

    name: ClassVar[str] = "cyclic_momentum"

    def _check(self) -> None:
        super()._check()
        check_momentums("CyclicMomentum", self.moms, ("highest", "lowest"))

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        highest, lowest = self.moms
        height = self._height(t)
        return highest * (1.0 - height) + lowest * height


@dataclass(frozen=True, repr=False)
class Cyclic(_Triangles):
    r"""From the base up to ``max_lr`` and back, again and again.

    .. math:: \eta_t = \eta + (\eta_{max} - \eta) \, s_t \, \wedge_t

    with the triangle :math:`\wedge_t` between 0 and 1, and the scale :math:`s_t` = 1 (``"triangular"``), :math:`2^{-k}`
    in cycle *k* from 0 (``"triangular2"``) or :math:`\gamma^t` (``"exp_range"``). ``.companions["momentum"]`` is the
    momentum, which moves inversely.

    Args:
        step_size_up: steps from the base to the top, >= 1.
        step_size_down: steps from the top to the base; None: as many as up.
        mode: how the triangles shrink.
        gamma: the factor per step of ``"exp_range"``, in (0, 1].
        max_lr: the top, absolute; the base must lie below. Give it or *max_factor*.
        max_factor: the top as a multiple of the base, >= 1, so that groups keep their ratio.
        moms: (highest, lowest) momentum; empty or None leaves the momentum alone.

    Raises:
        ValueError: both or neither of *max_lr* and *max_factor*; an unknown mode; a number out of range; a base above
            *max_lr*; on ``resolve``, a cycle longer than the run.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks (2017); ``torch.optim.lr_scheduler.CyclicLR``,
    whose ``base_lr`` is the base here.

    >>> Cyclic(2, max_lr=1.0).value(np.arange(6), base=0.2)
    array([0.2, 0.6, 1. , 0.6, 0.2, 0.6])
    """

    max_lr: float | None = None
    max_factor: float | None = None
    moms: tuple[float, float] | tuple[()] | None = (0.9, 0.8)

    name: ClassVar[str] = "cyclic"

    def _check(self) -> None:
        super()._check()
        if (self.max_lr is None) == (self.max_factor is None):
            raise ValueError(
                f"Cyclic: max_lr={self.max_lr} and max_factor={self.max_factor}: exactly one of them must be given; "
                "max_lr is an absolute rate, max_factor a multiple of the base."
            )
        if self.max_lr is not None:
            check_number("Cyclic", "max_lr", self.max_lr, low=0.0, low_open=True)
        if self.max_factor is not None:
            check_number("Cyclic", "max_factor", self.max_factor, low=1.0)
        if self.moms is None:
            object.__setattr__(self, "moms", ())  # plain data leaves None out, and then the default would come back
        if self.moms:
            check_momentums("Cyclic", self.moms, ("highest", "lowest"))

    def _check_base(self, base: float) -> None:
        super()._check_base(base)
        if self.max_lr is not None and base > self.max_lr:
            raise ValueError(
                f"Cyclic: the group's base {base} is above max_lr={self.max_lr}, so the cycle would go down instead of "
                "up; raise max_lr or lower the base."
            )

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        height = self._height(t)
        top = self.max_lr if self.max_lr is not None else base * (self.max_factor or 1.0)
        return base * (1.0 - height) + top * height

    @property
    def companions(self) -> Mapping[str, Schedule]:
        if not self.moms:
            return {}
        return {
            "momentum": CyclicMomentum(
                self.step_size_up,
                self.step_size_down,
                self.mode,
                self.gamma,
                moms=self.moms,
                every=self.every,
                steps_per_epoch=self.steps_per_epoch,
            )
        }

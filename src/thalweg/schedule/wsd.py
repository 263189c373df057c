"""Warm-up, a long plateau, a decay at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from thalweg.errors import check_number

from .base import Base, FloatArray, IntArray
from .curve import Curve
from .duration import Clock, Duration
from .shape import Shape, between, check_shape

__all__ = ["WarmupStableDecay"]


@dataclass(frozen=True, repr=False)
class WarmupStableDecay(Curve):
    r"""Up to the base, along it, and down at the end.

    .. math:: \eta_t = \eta \cdot \begin{cases}
        \text{start} + (1 - \text{start}) \, r(t / w) & t < w \\
        1 & w \le t < w + s \\
        \text{end} + (1 - \text{end}) \, f\big((t - w - s) / d\big) & t < w + s + d \\
        \text{end} & \text{after}
        \end{cases}

    with the rise *r* and the fall *f* of the shapes of :class:`Warmup`.

    Args:
        warmup: w, >= 0.
        decay: d, >= 1.
        stable: s, >= 0; None takes the steps that are left.
        shape: of the decay: ``"linear"``, ``"cosine"`` or ``"1-sqrt"``.
        warmup_shape: of the rise, one of the same.
        start: the first factor, in [0, 1].
        end: the last factor, in [0, 1].

    Hugging Face's ``get_wsd_schedule`` has one number, ``min_lr_ratio``, for *start* and *end*, and decays along a
    cosine by default; 1-sqrt is what the second source found best.

    Raises:
        ValueError: an unknown shape; a number out of range; on ``resolve``, more steps than the run has.

    Source: Hu et al., MiniCPM (2024), section 4; Hägele et al., Scaling Laws and Compute-Optimal Training Beyond Fixed
    Training Durations (2024), section 3.

    >>> WarmupStableDecay(2, 4, stable=2, shape="linear").value(np.arange(9), base=1.0)
    array([0.  , 0.5 , 1.  , 1.  , 1.  , 0.75, 0.5 , 0.25, 0.  ])
    """

    warmup: Duration
    decay: Duration
    stable: Duration | None = None
    shape: Shape = "1-sqrt"
    warmup_shape: Shape = "linear"
    start: float = 0.0
    end: float = 0.0

    name: ClassVar[str] = "wsd"
    durations: ClassVar[tuple[str, ...]] = ("warmup", "decay", "stable")
    span: ClassVar[str | None] = "stable"
    shortest: ClassVar[int] = 0

    def _check(self) -> None:
        who = "WarmupStableDecay"
        for name in ("shape", "warmup_shape"):
            check_shape(who, name, getattr(self, name), ("linear", "cosine", "1-sqrt"))
        check_number(who, "start", self.start, low=0.0, high=1.0)
        check_number(who, "end", self.end, low=0.0, high=1.0)
        if isinstance(self.decay, int):
            check_number(who, "decay", self.decay, low=1, advice="without a decay this is Warmup(…) >> Constant()")

    def _ticks(self) -> int | None:
        parts = (self.warmup, self.stable, self.decay)
        counts = [part for part in parts if isinstance(part, int)]
        return sum(counts) if len(counts) == len(parts) else None

    def _rest(self, clock: Clock, counts: dict[str, Any]) -> int:
        left: int = super()._rest(clock, counts) - counts["warmup"] - counts["decay"]
        if left < 0:
            raise ValueError(
                f"WarmupStableDecay: warmup={counts['warmup']} and decay={counts['decay']} are longer than the "
                f"{clock.available} {clock.unit}s that it has; shorten them or train longer."
            )
        return left

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        warmup, stable, decay = self.warmup, self.stable, self.decay
        assert isinstance(warmup, int)
        assert isinstance(stable, int)
        assert isinstance(decay, int)
        down = between(self.shape, 1.0, self.end, np.clip(t - warmup - stable, 0, decay), decay)
        if not (rising := t < warmup).any():
            return base * down
        up = between(self.warmup_shape, 1.0, self.start, np.maximum(warmup - t, 0), warmup)
        return base * np.where(rising, up, down)

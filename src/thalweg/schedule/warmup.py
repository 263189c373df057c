"""A rise to the base, in front of anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from thalweg.errors import check_number

from .base import Base, FloatArray, IntArray
from .curve import Curve
from .duration import Clock, Duration
from .shape import Shape, between, check_shape

__all__ = ["Warmup"]


@dataclass(frozen=True, repr=False)
class Warmup(Curve):
    r"""From ``start`` times the base up to the base, then the base.

    .. math:: \eta_t = \big(\text{start} + (1 - \text{start}) \, r(x)\big) \eta, \qquad x = \min(t / T, 1)

    with *r* = x (``"linear"``), (1 − cos πx)/2 (``"cosine"``), 1 − √(1−x) (``"1-sqrt"``); ``"exponential"`` is
    :math:`\text{start}^{1-x} \eta`. Step T has the base itself, so that ``Warmup(T) >> b`` is continuous wherever *b*
    begins at its base. ``Warmup(w - 1, start=1 / w)`` gives (t + 1)/w, the variant without a first step at rate zero.

    Args:
        steps: T, >= 0.
        shape: ``"linear"``, ``"exponential"``, ``"cosine"`` or ``"1-sqrt"``.
        start: the first factor, in [0, 1]; None is 0 (as Hugging Face has it), and 0.01 for ``"exponential"``, which
            cannot start at 0.

    Raises:
        ValueError: an unknown shape; a number out of range; on ``resolve``, a warm-up longer than the run.

    Source: Goyal et al., Accurate, Large Minibatch SGD (2017), section 2.2; with ``start=1/3``
    ``torch.optim.lr_scheduler.LinearLR``.

    >>> Warmup(4).value(np.arange(6), base=1.0)
    array([0.  , 0.25, 0.5 , 0.75, 1.  , 1.  ])
    >>> Warmup(4, "exponential", start=1e-4).value(np.arange(5), base=1.0)
    array([1.e-04, 1.e-03, 1.e-02, 1.e-01, 1.e+00])
    """

    steps: Duration
    shape: Shape = "linear"
    start: float | None = None

    name: ClassVar[str] = "warmup"
    shortest: ClassVar[int] = 0

    def _check(self) -> None:
        if self.steps is None:
            raise TypeError('Warmup: steps=None has no length; give a count, "10%", "500 steps" or "2 epochs".')
        check_shape("Warmup", "shape", self.shape, ("linear", "exponential", "cosine", "1-sqrt"))
        if self.start is not None:
            check_number("Warmup", "start", self.start, low=0.0, high=1.0)
        if self.shape == "exponential" and self.start == 0.0:
            raise ValueError("Warmup: start=0.0 cannot be multiplied up to 1; give a start > 0, or another shape.")

    def _check_fit(self, available: int, clock: Clock) -> None:
        assert isinstance(self.steps, int)
        if self.steps > available:
            raise ValueError(
                f"Warmup: the warm-up of {self.steps} {clock.unit}s is longer than the run of {available}; "
                "shorten it or train longer."
            )

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        assert isinstance(self.steps, int)
        start = self.start if self.start is not None else 0.01 if self.shape == "exponential" else 0.0
        if self.steps == 0:
            return np.broadcast_to(np.asarray(base, dtype=np.float64), t.shape)
        # The way up is the way down, walked backwards: what remains falls from 1 to 0.
        return base * between(self.shape, 1.0, start, np.maximum(self.steps - t, 0), self.steps)

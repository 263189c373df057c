"""Reduce on plateau: a controller whose state is in plain sight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
import numpy.typing as npt

from thalweg.errors import check_number, did_you_mean, listing, unknown_name

from .base import Base, FloatArray, IntArray, Schedule
from .controller import Controller, ControlState
from .duration import Clock

__all__ = ["ReduceOnPlateau"]


@dataclass(frozen=True, repr=False)
class ReduceOnPlateau(Schedule):
    r"""Lower the rate by a factor when a metric has stopped improving.

    As a schedule it is the base itself, so that ``Cosine() * ReduceOnPlateau()`` plans a cosine: no plan can know what
    a metric will do. As a controller it maps (state, metric) to state, and the loop multiplies :meth:`multiplier` onto
    the plan (:meth:`apply` with the floor). The settings are frozen; the state is a plain dict.

    A metric is better when it beats the best one by the threshold: ``metric < best * (1 - threshold)`` (``"rel"``) or
    ``metric < best - threshold`` (``"abs"``), mirrored for ``mode="max"``. After more than *patience* metrics in a row
    that are not better, the multiplier is lowered, and *cooldown* metrics are let pass before counting begins again.

    Args:
        mode: ``"min"`` or ``"max"``: which metrics are better.
        factor: what the multiplier is multiplied by, in (0, 1).
        patience: metrics without improvement that are put up with, >= 0.
        threshold: >= 0.
        threshold_mode: ``"rel"`` or ``"abs"``.
        cooldown: metrics that do not count after a reduction, >= 0.
        min_factor: the multiplier's floor, in [0, 1].
        min_lr: the floor of the rate itself, absolute, >= 0; a planned rate below it is left alone.
        monitor: the name of the metric.

    Raises:
        TypeError: a count is not an int.
        ValueError: a number out of range or an unknown mode.

    Source: ``torch.optim.lr_scheduler.ReduceLROnPlateau`` with ``eps=0``.

    >>> control = ReduceOnPlateau(factor=0.5, patience=1)
    >>> state = control.init()
    >>> for loss in (1.0, 0.8, 0.8, 0.8, 0.7):
    ...     state = control.update(state, loss)
    ...     print(control.multiplier(state), end=" ")
    1.0 1.0 1.0 0.5 0.5
    """

    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    min_factor: float = 0.0
    min_lr: float = 0.0
    monitor: str = "val_loss"

    name: ClassVar[str] = "plateau"

    def _check(self) -> None:
        who = "ReduceOnPlateau"
        if self.mode not in ("min", "max"):
            raise unknown_name(f"{who} mode", "mode", self.mode, ["min", "max"])
        if self.threshold_mode not in ("rel", "abs"):
            raise unknown_name(f"{who} threshold_mode", "mode", self.threshold_mode, ["rel", "abs"])
        advice = "each reduction multiplies the rate by it"
        check_number(who, "factor", self.factor, low=0.0, low_open=True, high=1.0, high_open=True, advice=advice)
        for name, count in (("patience", self.patience), ("cooldown", self.cooldown)):
            if isinstance(count, bool) or not isinstance(count, int):
                raise TypeError(f"{who}: {name}={count!r} must be an int, got {type(count).__name__}.")
            check_number(who, name, count, low=0)
        check_number(who, "threshold", self.threshold, low=0.0)
        check_number(who, "min_factor", self.min_factor, low=0.0, high=1.0)
        check_number(who, "min_lr", self.min_lr, low=0.0)

    # --------------------------------------------------------------------------------------------------- the controller

    def init(self) -> ControlState:
        """Return the state before the first metric."""
        return {"best": None, "num_bad_epochs": 0, "cooldown_counter": 0, "multiplier": 1.0}

    def update(self, state: Mapping[str, Any], metric: float) -> ControlState:
        """Return the state after one more metric; *state* is left as it is.

        Args:
            state: from :meth:`init` or an earlier call; torch's names.
            metric: a number. One that is infinitely bad counts as not better.

        Raises:
            TypeError: *metric* is not a number.
            ValueError: *metric* is NaN, or infinitely good; or *state* is not one.
        """
        unknown = [key for key in state if key not in self.init()]
        if unknown or len(state) != len(self.init()):
            hint = did_you_mean(unknown[0], self.init()) if unknown else ""
            raise ValueError(
                f"ReduceOnPlateau: the state has the keys {listing(state)}.{hint} It must have: {listing(self.init())}."
            )
        check_number("ReduceOnPlateau", self.monitor, metric)
        value = float(metric)
        if value == (-math.inf if self.mode == "min" else math.inf):
            raise ValueError(
                f"ReduceOnPlateau: {self.monitor}={value} could never be beaten; check the metric before it gets here."
            )
        best, bad, cooling = state["best"], state["num_bad_epochs"], state["cooldown_counter"]
        multiplier = state["multiplier"]
        if self._is_better(value, best):
            best, bad = value, 0
        else:
            bad += 1
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        if bad > self.patience:
            multiplier = max(multiplier * self.factor, self.min_factor)
            cooling, bad = self.cooldown, 0
        return {"best": best, "num_bad_epochs": bad, "cooldown_counter": cooling, "multiplier": multiplier}

    def _is_better(self, metric: float, best: float | None) -> bool:
        if best is None:
            return math.isfinite(metric)
        if self.mode == "min":
            return metric < (best * (1.0 - self.threshold) if self.threshold_mode == "rel" else best - self.threshold)
        return metric > (best * (1.0 + self.threshold) if self.threshold_mode == "rel" else best + self.threshold)

    def multiplier(self, state: Mapping[str, Any]) -> float:
        """Return the factor on the planned rate."""
        return float(state["multiplier"])

    @overload
    def apply(self, state: Mapping[str, Any], rate: float) -> float: ...
    @overload
    def apply(self, state: Mapping[str, Any], rate: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]: ...
    def apply(self, state: Mapping[str, Any], rate: float | npt.NDArray[np.float64]) -> float | npt.NDArray[np.float64]:
        """Return the planned *rate* times the multiplier, not below ``min_lr`` unless the plan is.

        >>> control = ReduceOnPlateau(min_lr=0.02)
        >>> control.apply(control.init() | {"multiplier": 0.1}, np.array([1.0, 0.1, 0.01]))
        array([0.1 , 0.02, 0.01])
        """
        lowered = np.minimum(rate, np.maximum(rate * self.multiplier(state), self.min_lr))
        return lowered if isinstance(rate, np.ndarray) else float(lowered)

    # ----------------------------------------------------------------------------------------------------- the schedule

    @property
    def length(self) -> int | None:
        return None

    @property
    def controllers(self) -> tuple[Controller, ...]:
        return (self,)

    def _resolve(self, clock: Clock) -> Self:
        return self

    def _fixed(self, clock: Clock) -> int | None:
        return None

    def _values(self, steps: IntArray, base: Base) -> FloatArray:
        return np.broadcast_to(np.asarray(base, dtype=np.float64), steps.shape)

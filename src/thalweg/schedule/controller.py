"""What a controller is: a factor on the rate that answers to a metric, with its state held outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

__all__ = ["ControlState", "Controller"]

ControlState = dict[str, Any]


class Controller(Protocol):
    """The interface that the loop holds a controller by; :class:`ReduceOnPlateau` is one.

    The settings are frozen, the state is a plain JSON-able dict that the loop keeps and saves.
    """

    @property
    def monitor(self) -> str:
        """The name of the metric that :meth:`update` is fed with."""

    def init(self) -> ControlState:
        """Return the state before the first metric."""

    def update(self, state: Mapping[str, Any], metric: float) -> ControlState:
        """Return the state after one more metric; *state* is left as it is."""

    def multiplier(self, state: Mapping[str, Any]) -> float:
        """Return the factor on the planned rate."""

    @overload
    def apply(self, state: Mapping[str, Any], rate: float) -> float: ...
    @overload
    def apply(self, state: Mapping[str, Any], rate: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]: ...

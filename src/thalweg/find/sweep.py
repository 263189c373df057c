"""The losses of a training whose rate rises from update to update."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import check_number, unknown_name
from .parts import Parts, Updates
from .smooth import noise_of

__all__ = ["Sweep", "rates_of", "sweep"]

Array = NDArray[np.float64]
Kind = Literal["exponential", "linear"]

_FLUSH = 8  # updates between two looks at an accelerator; a CPU's values are there anyway


@dataclass(frozen=True)
class Sweep:
    """Rates and losses of a sweep, shape **(n,)** each, and why it ended."""

    lr: Array
    loss: Array
    stopped: str


def rates_of(low: float, high: float, steps: int, kind: Kind = "exponential") -> Array:
    r"""Return the rates of a sweep, shape **(steps,)**.

    Geometric, :math:`\eta_i = a (b/a)^{i/(n-1)}`, or evenly spaced.

    Raises:
        ValueError: an empty range, fewer than 20 steps, an unknown kind.

    >>> rates_of(1e-3, 1e-1, 21)[[0, 10, 20]]
    array([0.001, 0.01 , 0.1  ])
    """
    if kind not in ("exponential", "linear"):
        raise unknown_name("lr_find", "sweep", kind, ("exponential", "linear"))
    check_number("lr_find", "low", low, low=0.0, low_open=True)
    check_number("lr_find", "high", high, low=0.0, low_open=True, high=math.inf, high_open=True)
    if not low < high:
        raise ValueError(f"lr_find: the range from low={low:g} to high={high:g} is empty; choose low < high.")
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"lr_find: steps={steps!r} must be a whole number, got {type(steps).__name__}.")
    check_number("lr_find", "steps", steps, low=20, advice="a curve needs some points to be judged")
    if kind == "linear":
        return np.linspace(low, high, steps)
    rates = np.exp(np.linspace(math.log(low), math.log(high), steps))
    rates[0], rates[-1] = low, high
    return rates


def sweep(parts: Parts, rates: Array) -> Sweep:
    """Train at one rate after the other and return the losses; the model is changed.

    Stops where the loss is not finite, or has risen above its first value by three times as much as it had fallen.

    Raises:
        ValueError: the very first loss is NaN or infinite.
    """
    updates = Updates(parts)
    every = 1 if parts.device.type == "cpu" else _FLUSH
    pending: list[Tensor] = []
    losses: list[float] = []
    stopped = "end of the range"
    best = math.inf
    for index, rate in enumerate(rates):
        pending.append(updates.at(float(rate)))
        if len(pending) < every and index + 1 < len(rates):
            continue
        losses += torch.stack(pending).cpu().tolist()
        pending = []
        if not math.isfinite(losses[0]):
            raise ValueError(
                f"lr_find: the loss is {losses[0]} at the first batch, before any update, so no rate can be found; "
                "look at the data (NaN, infinite values), the loss and the model's weights."
            )
        bad = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if bad is not None:
            losses = losses[:bad]
            stopped = f"the loss was not finite at {rates[bad]:.3g}"
            break
        start = float(np.median(losses[:5]))
        best = min(best, float(np.median(losses[-5:])))
        fallen = max(start - best, 0.1 * abs(start), 2 * noise_of(np.array(losses)))
        if len(losses) > 10 and min(losses[-3:]) > start + 3 * fallen:
            stopped = f"the loss diverged at {rates[len(losses) - 1]:.3g}"
            break
    return Sweep(rates[: len(losses)].copy(), np.array(losses), stopped)

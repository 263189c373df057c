"""Skipping an update on the CPU, where every value is there as soon as it is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .latch import Latch
from .spikes import Averages

__all__ = ["HostLatch"]


class HostLatch(Latch):
    """Reads the loss and the norms that are recorded anyway, and calls no kernel for an update that is skipped.

    There is no device to wait for on the CPU: a handful of numbers read in place cost a fifth of the operations that
    decide on a device, and an update that is not skipped takes the same way as without a guard.
    """

    wants_total = False

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]
        self._averages = Averages()
        self._verdicts = torch.zeros((), dtype=torch.float32), torch.ones((), dtype=torch.float32)

    def skip(self, loss: Tensor, weight: Tensor | int, norms: list[Tensor] | Tensor | None) -> Tensor:
        value: Any = loss.tolist()
        seen = value
        if isinstance(norms, list):
            for norm in norms:
                seen += norm.tolist()
        elif norms is not None:
            seen += sum(norms.tolist()) if norms.ndim else norms.tolist()
        bad = not math.isfinite(seen)
        if self.guard.spike is not None and not bad:
            count: Any = weight.tolist() if isinstance(weight, Tensor) else weight
            bad = bool(count) and self._averages.is_spike(value / count, self.guard)
        self.held_back = bad
        if bad and self._buffers:
            torch._foreach_copy_(self._buffers, self._kept)
        return self._verdicts[bad]

    def state(self) -> dict[str, Sequence[float] | None]:
        averages = self._averages
        return {"averages": [averages.mean, averages.spread, averages.count]}

    def load_state(self, state: dict[str, Sequence[float] | None]) -> None:
        stored = state["averages"]
        if stored is not None:
            mean, spread, count = stored
            self._averages = Averages(float(mean), float(spread), int(count))

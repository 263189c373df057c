"""Skipping an update on an accelerator: the decision stays there, and the kernels read it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .latch import Latch
from .spikes import BETA

__all__ = ["DeviceLatch"]


class DeviceLatch(Latch):
    """A few operations on 0-dim tensors, whose result the update's kernels take as their flag."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]
        self._averages: Tensor | None = None  # mean, spread and count of the losses, where spikes are looked for

    def skip(self, loss: Tensor, weight: Tensor | int, norms: list[Tensor] | Tensor | None) -> Tensor:
        assert not isinstance(norms, list), "the total of the norms was asked for"
        value = loss if norms is None else loss + norms
        good = (value - value) == 0  # false for NaN and infinities, in two operations instead of isfinite's four
        if self.guard.spike is not None:
            good = good & self._is_ordinary(loss, weight, good)
        self.flag = good.logical_not().to(torch.float32)
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            torch.where(good, buffer, kept, out=buffer)
        return self.flag

    def _is_ordinary(self, loss: Tensor, weight: Tensor | int, good: Tensor) -> Tensor:
        """Return whether the loss is no spike, and take it into the averages where it is none."""
        assert self.guard.spike is not None
        if self._averages is None:
            self._averages = torch.zeros(3, dtype=torch.float32, device=loss.device)
        elif self._averages.device != loss.device:
            self._averages = self._averages.to(loss.device)
        mean, spread, count = self._averages.unbind()
        counts = torch.as_tensor(weight, device=loss.device) != 0  # a batch whose rows are all masked has no loss
        value = torch.where(counts, loss / weight, mean).to(torch.float32)
        ordinary = (count < self.guard.after) | (value <= mean + self.guard.spike * spread)
        taken = good & ordinary & counts
        now = count + 1
        rate = now.reciprocal().clamp(min=1 - BETA)
        distance = torch.where(count > 0, (value - mean).abs(), 0.0)
        after = torch.stack([mean + rate * (value - mean), spread + rate * (distance - spread), now])
        self._averages = torch.where(taken, after, self._averages)
        return ordinary

    def state(self) -> dict[str, Sequence[float] | None]:
        return {"averages": None if self._averages is None else self._averages.tolist()}

    def load_state(self, state: dict[str, Sequence[float] | None]) -> None:
        stored = state["averages"]
        self._averages = None if stored is None else torch.tensor(list(stored), dtype=torch.float32)

"""Skipping an update on the device, without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .guard import Guard

__all__ = ["Latch"]

_BETA = 0.98


class Latch:
    """Decides on the device whether an update is skipped, and keeps buffers out of a skipped one.

    A batch with NaN would spoil BatchNorm's running statistics in the forward pass already, so buffers are copied
    before it and put back where the update is skipped.

    Args:
        guard: with the policy ``"skip"``.
        module: whose buffers are kept.
    """

    def __init__(self, guard: Guard, module: nn.Module) -> None:
        self.guard = guard
        self._buffers = list(module.buffers())
        self._kept = [buffer.clone() for buffer in self._buffers]
        self._averages: Tensor | None = None  # mean, spread and count of the losses, where spikes are looked for

    def before(self) -> None:
        """Copy the buffers, before the first forward pass of an update."""
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)

    def skip(self, loss: Tensor, weight: Tensor | int, norm: Tensor | None) -> Tensor:
        """Return 1 where the update is to be skipped, else 0: a 0-dim float32 tensor; the buffers are put back.

        Args:
            loss: the sum, 0-dim.
            weight: what divides it.
            norm: of all gradients, 0-dim; not finite where one of them is not.
        """
        good = torch.isfinite(loss if norm is None else loss + norm)
        if self.guard.spike is not None:
            good = good & self._is_ordinary(loss, weight, good)
        skip = good.logical_not().to(torch.float32)
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            buffer.copy_(torch.where(good, buffer, kept))
        return skip

    def _is_ordinary(self, loss: Tensor, weight: Tensor | int, good: Tensor) -> Tensor:
        """Return whether the loss is no spike, and take it into the averages where it is none."""
        assert self.guard.spike is not None
        if self._averages is None:
            self._averages = torch.zeros(3, dtype=torch.float32, device=loss.device)
        elif self._averages.device != loss.device:
            self._averages = self._averages.to(loss.device)
        mean, spread, count = self._averages.unbind()
        value = (loss / weight).to(torch.float32)
        ordinary = (count < self.guard.after) | (value <= mean + self.guard.spike * spread)
        taken = good & ordinary
        now = count + 1
        rate = now.reciprocal().clamp(min=1 - _BETA)
        distance = torch.where(count > 0, (value - mean).abs(), 0.0)
        after = torch.stack([mean + rate * (value - mean), spread + rate * (distance - spread), now])
        self._averages = torch.where(taken, after, self._averages)
        return ordinary

    def state(self) -> dict[str, Tensor | None]:
        """Return the averages."""
        return {"averages": self._averages}

    def load_state(self, state: dict[str, Tensor | None]) -> None:
        """Take back what :meth:`state` returned."""
        self._averages = state["averages"]

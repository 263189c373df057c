"""Skipping an update: decided where the values are, without waiting for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .guard import Guard

__all__ = ["Latch"]


class Latch(ABC):
    """Decides whether an update is skipped, and keeps buffers out of a skipped one.

    A batch with NaN would spoil BatchNorm's running statistics in the forward pass already, so buffers are copied
    before it and put back where the update is skipped.

    Args:
        guard: with the policy ``"skip"``.
        module: whose buffers are kept.

    Attributes:
        flag: what the kernels are handed so that they leave everything as it is, 1 or 0 in a 0-dim float32 tensor; None
            where the decision is known before they are called.
        held_back: whether the update is known to be skipped, so that no kernel is called.
        wants_total: whether :meth:`skip` takes the norm of all gradients together.
    """

    wants_total: bool = True

    def __init__(self, guard: Guard, module: nn.Module) -> None:
        self.guard = guard
        self.flag: Tensor | None = None
        self.held_back = False
        self._buffers = list(module.buffers())
        self._kept = [buffer.clone() for buffer in self._buffers]

    def before(self) -> None:
        """Copy the buffers, before the first forward pass of an update."""
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)

    @abstractmethod
    def skip(self, loss: Tensor, weight: Tensor | int, norms: list[Tensor] | Tensor | None) -> Tensor:
        """Return 1 where the update is to be skipped, else 0: a 0-dim float32 tensor; the buffers are put back.

        Args:
            loss: the sum, 0-dim.
            weight: what divides it.
            norms: of the gradients, or of all of them together (0-dim); not finite where a gradient is not.
        """

    @abstractmethod
    def state(self) -> dict[str, Sequence[float] | None]:
        """Return the averages that spikes are held against: mean, spread and count."""

    @abstractmethod
    def load_state(self, state: dict[str, Sequence[float] | None]) -> None:
        """Take back what :meth:`state` returned, also that of a training on another kind of device."""

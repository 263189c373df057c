"""What an optimizer keeps of one group between steps, and notices when it no longer holds."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any

from torch import Tensor

from thalweg.optim import State

__all__ = ["Slot"]


class Slot:
    """The parameters of a group that had a gradient last time, their states, and what the engine derived from them."""

    __slots__ = ("_count", "memo", "params", "states")

    def __init__(self) -> None:
        self._count = -1
        self.params: list[Tensor] = []
        self.states: list[State] = []
        self.memo: dict[str, Any] = {}

    def gradients(self, everything: list[Tensor]) -> list[Tensor]:
        """Return the gradients there are; ``params`` are then the parameters that have one, in the same order."""
        grads = [grad for param in everything if (grad := param.grad) is not None]
        count = len(grads)
        if count == len(everything):
            if count == self._count and all(map(is_, everything, self.params)):
                return grads
            self._restart(list(everything))
        else:
            params = [param for param in everything if param.grad is not None]
            if count != self._count or not all(map(is_, params, self.params)):
                self._restart(params)
        return grads

    def _restart(self, params: list[Tensor]) -> None:
        self.params, self._count = params, len(params)
        self.states = []
        self.memo = {}

    def has_states(self, state: Mapping[Tensor, Any]) -> bool:
        """Whether the states kept are still the ones in the optimizer's *state*."""
        if len(self.states) != self._count:
            return False
        if len(state) == self._count and all(map(is_, state, self.params)):
            return all(map(is_, state.values(), self.states))  # in the same order: no look-up by a slow hash
        return all(map(is_, map(state.get, self.params), self.states))

    def keep_states(self, states: list[State]) -> None:
        """Keep these states, which the engine has not seen yet."""
        self.states = states
        self.memo = {}

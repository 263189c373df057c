"""What an engine is: a way to execute one rule on one group of parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from thalweg.engine.clip import total_norm
from thalweg.engine.rounding import Rounder
from thalweg.optim import Hyper, Rule, State

__all__ = ["Engine"]


class Engine(ABC):
    """Executes an update rule. Engines differ in speed only: all agree with ``reference`` within rounding."""

    name: ClassVar[str]

    def total_norm(self, grads: list[Tensor]) -> Tensor:
        """Return the 2-norm of all gradients together as a 0-dim tensor."""
        return total_norm(grads)

    def norms(self, grads: list[Tensor]) -> Tensor | None:
        """Return the 2-norm of each gradient **(n,)**, or None where the engine has no faster way than torch's."""
        return None

    def bind(
        self, rule: Rule, params: list[Tensor], states: list[State], hyper: Hyper, memo: dict[str, Any]
    ) -> Callable[[list[Tensor]], None] | None:
        """Return :meth:`step` for these very tensors as a function of the gradients, or None where that saves nothing.

        It asks nothing about *params*, *states* and *hyper* again, and may overwrite the gradients. It reads *hyper*
        anew at every call, and holds as long as nobody exchanges a tensor.
        """
        return None

    @abstractmethod
    def step(
        self,
        rule: Rule,
        params: list[Tensor],
        grads: list[Tensor],
        states: list[State],
        hyper: Hyper,
        scale: Tensor | None = None,
        *,
        skip: Tensor | None = None,
        rounder: Rounder | None = None,
        overwrite: bool = False,
        memo: dict[str, Any] | None = None,
    ) -> None:
        """Update *params* and *states* in place.

        Args:
            rule: the rule; its structure fields decide which state there is.
            params: the parameters of one group.
            grads: their gradients, never changed here unless *overwrite*.
            states: their states, as ``rule.init`` made them.
            hyper: the group's hyperparameters.
            scale: 0-dim factor on every gradient (clipping, loss scaling), or None.
            skip: 0-dim tensor; where it is not zero everything stays as it is, decided on the device.
            rounder: draws for stochastic rounding of bfloat16, or None to round to nearest.
            overwrite: nobody reads the gradients afterwards, so that they may be scaled in place.
            memo: where the engine may keep what it derived from *params* and *states* for the next call with them.
        """

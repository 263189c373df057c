"""What an engine is: a way to execute one rule on one group of parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ..optim import Hyper, Rule, State

__all__ = ["Engine"]


class Engine(ABC):
    """Executes an update rule. Engines differ in speed only: all agree with ``reference`` within rounding."""

    name: ClassVar[str]

    @abstractmethod
    def step(
        self,
        rule: Rule,
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        states: Sequence[State],
        hyper: Hyper,
        scale: Tensor | None = None,
    ) -> None:
        """Update *params* and *states* in place.

        Args:
            rule: the rule; its structure fields decide which state there is.
            params: the parameters of one group.
            grads: their gradients, never changed here.
            states: their states, as ``rule.init`` made them.
            hyper: the group's hyperparameters.
            scale: 0-dim factor on every gradient (clipping, loss scaling), or None.
        """

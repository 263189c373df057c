"""What a lane is: some members that are advanced together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .candidate import Candidate
from .entry import Entry
from .initial import Weights

__all__ = ["Lane", "Losses"]

Losses = NDArray[np.float64]


class Lane(ABC):
    """Members whose numbers are :attr:`numbers`, all after :attr:`step` updates.

    Args:
        entry: model, loss and data.
        candidates: of the members, in the order of *numbers*.
        numbers: of the members in the race.
        total: updates of a whole training, which schedules are resolved against.
    """

    kind: ClassVar[str]

    def __init__(self, entry: Entry, candidates: Sequence[Candidate], numbers: Sequence[int], total: int) -> None:
        self.entry, self.candidates, self.numbers, self.total = entry, list(candidates), list(numbers), total
        self.step = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def dropout_seeds(self) -> list[int]:
        """Return each member's seed of dropout: its own, or the race's."""
        return [self.entry.seed if c.seed is None else c.seed for c in self.candidates]

    @abstractmethod
    def advance(self, count: int) -> Losses:
        """Make *count* updates of every member; return the losses before each, **(count, K)**."""

    @abstractmethod
    def scores(self) -> Losses:
        """Return each member's loss over the validation data, **(K,)**."""

    @abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """Let only the members at *rows* go on."""

    @abstractmethod
    def weights(self, row: int) -> Weights:
        """Return (parameters, buffers) by name, copies, that evaluation should use for the member at *row*."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return everything that going on needs, as a tree of tensors and plain data."""

    @abstractmethod
    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` returned."""

    def _keep_numbers(self, rows: Sequence[int]) -> None:
        self.candidates = [self.candidates[row] for row in rows]
        self.numbers = [self.numbers[row] for row in rows]

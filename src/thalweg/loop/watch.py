"""What the guard of a run has seen so far."""

from __future__ import annotations

from typing import Any

from .guard import Guard
from .latch import Latch
from .spikes import Averages

__all__ = ["Spoiled", "Watch"]


class Spoiled(Exception):
    """An update that the guard wants undone: its step, its epoch and its batches, and the report."""

    def __init__(self, step: int, epoch: int, batches: tuple[int, int], report: str) -> None:
        super().__init__(report)
        self.step, self.epoch, self.batches = step, epoch, batches


class Watch:
    """What the guard of one run has seen.

    Attributes:
        skipped: (epoch, batch) of batches that a rollback left out.
        rollbacks: so many there were.
        factor: on every rate, of all rollbacks together.
        latch: what skips updates on the device, or None.
        told: whether the user has been warned of a skipped update.
    """

    def __init__(self, guard: Guard, latch: Latch | None = None) -> None:
        self.guard = guard
        self.latch = latch
        self.averages = Averages()
        self.skipped: set[tuple[int, int]] = set()
        self.rollbacks = 0
        self.factor = 1.0
        self.told = False

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        averages = self.averages
        return {
            "averages": [averages.mean, averages.spread, averages.count],
            "skipped": [list(pair) for pair in sorted(self.skipped)],
            "rollbacks": self.rollbacks,
            "factor": self.factor,
            "latch": None if self.latch is None else self.latch.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` returned."""
        self.averages = Averages(*state["averages"])
        self.skipped = {(int(epoch), int(batch)) for epoch, batch in state["skipped"]}
        self.rollbacks, self.factor = int(state["rollbacks"]), float(state["factor"])
        if self.latch is not None and state["latch"] is not None:
            self.latch.load_state(state["latch"])

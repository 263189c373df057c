"""What counts as a spike of the loss: the averages that it is held against."""

from __future__ import annotations

from dataclasses import dataclass

from .guard import Guard

__all__ = ["BETA", "Averages"]

#: The averages remember about 1 / (1 − β) = fifty updates.
BETA = 0.98


@dataclass
class Averages:
    """Exponential averages of the losses and of their distances from the average; spikes stay out."""

    mean: float = 0.0
    spread: float = 0.0
    count: int = 0

    def is_spike(self, loss: float, guard: Guard) -> bool:
        """Whether *loss* is one; takes it in where it is not.

        >>> averages, guard = Averages(), Guard(spike=3.0, after=2)
        >>> [averages.is_spike(loss, guard) for loss in (1.0, 2.0, 1.5, 9.0, 1.4)]
        [False, False, False, True, False]
        """
        assert guard.spike is not None
        if self.count >= guard.after and loss > self.mean + guard.spike * self.spread:
            return True
        self.count += 1
        rate = max(1 - BETA, 1 / self.count)
        self.spread += rate * (abs(loss - self.mean) - self.spread) if self.count > 1 else 0.0
        self.mean += rate * (loss - self.mean)
        return False

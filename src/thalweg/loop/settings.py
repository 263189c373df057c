"""What a call of fit was asked to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from thalweg.errors import check_number

__all__ = ["Every", "Settings"]

_EVERY = re.compile(r"\s*(\d+)\s*(epochs?|steps?)\s*")


@dataclass(frozen=True)
class Every:
    """An interval in epochs or in updates.

    >>> Every.parse("log_every", "50 steps")
    Every(count=50, unit='steps')
    >>> Every.parse("log_every", 10)
    Every(count=10, unit='epochs')
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, name: str, given: int | str) -> Every:
        """Return the interval from a count of epochs, ``"5 epochs"`` or ``"500 steps"``."""
        if isinstance(given, bool) or not isinstance(given, (int, str)):
            raise TypeError(f"fit: {name}={given!r} must be a count of epochs, '5 epochs' or '500 steps'.")
        if isinstance(given, int):
            check_number("fit", name, given, low=1)
            return cls(given, "epochs")
        match = _EVERY.fullmatch(given)
        if match is None or int(match[1]) < 1:
            raise ValueError(
                f"fit: {name}={given!r} is no interval; write a count of epochs >= 1, '5 epochs' or '500 steps'."
            )
        return cls(int(match[1]), "epochs" if match[2].startswith("epoch") else "steps")

    def epoch_is_due(self, epoch: int, last: bool) -> bool:
        """Whether epoch number *epoch* (from 1) is one of them; the first and the last always are."""
        return self.unit == "epochs" and (last or epoch == 1 or epoch % self.count == 0)


@dataclass(frozen=True)
class Settings:
    """The numbers of one fit.

    Args:
        epochs: passes over the data in all, resumed ones included, >= 1.
        accumulate: micro-batches per update, >= 1.
        log_every: how often a line is printed; None: about twenty lines in all.
        checkpoint_every: how often a run directory gets a checkpoint.
        keep: newest checkpoints that are kept, >= 1.
        flush_every: updates after which recorded values are brought to the host, >= 1; a non-finite loss is noticed
            at most so many updates late.
        log_events: also print each event (a change of rate by a controller or a step schedule).
        verbose: print lines and a progress bar.
    """

    epochs: int = 1
    accumulate: int = 1
    log_every: int | str | None = None
    checkpoint_every: int | str = "1 epochs"
    keep: int = 2
    flush_every: int = 128
    verbose: bool = True
    log_events: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate", "keep", "flush_every"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"fit: {name}={value!r} must be a whole number, got {type(value).__name__}.")
            check_number("fit", name, value, low=1)

    @property
    def log_interval(self) -> Every:
        """How often a line is printed."""
        if self.log_every is None:
            return Every(max(1, self.epochs // 20), "epochs")
        return Every.parse("log_every", self.log_every)

    @property
    def checkpoint_interval(self) -> Every:
        """How often a checkpoint is written."""
        return Every.parse("checkpoint_every", self.checkpoint_every)

"""What a call of fit was asked to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from thalweg.errors import check_number, unknown_name

from .guard import Guard
from .loggers import check_loggers

__all__ = ["CHANGES", "Cadence", "Every", "Settings", "check_changes"]

_EVERY = re.compile(r"\s*(\d+)\s*(epoch|step)s?\s*")
_CLOCK = re.compile(r"\s*(\d+)\s*(second|minute|hour)s?\s*")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


#: Names for ``fit(..., resume=…, change=…)``. More epochs need no name: the number is given in any case.
CHANGES = ("lr", "schedule", "batch_size", "accumulate", "frozen")


def check_changes(given: Sequence[str] | str) -> tuple[str, ...]:
    """Return the names as a tuple.

    Raises:
        ValueError: an unknown one.

    >>> check_changes("lr")
    ('lr',)
    """
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name not in CHANGES:
            raise unknown_name("fit", "change", name, CHANGES)
    return names


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
        return cls(int(match[1]), f"{match[2]}s")

    def epoch_is_due(self, epoch: int, last: bool) -> bool:
        """Whether epoch number *epoch* (from 1) is one of them; the first and the last always are."""
        return self.unit == "epochs" and (last or epoch == 1 or epoch % self.count == 0)


@dataclass(frozen=True)
class Cadence:
    """When checkpoints are written; several occasions go together.

    Attributes:
        epochs: after so many epochs, and the first and the last; 0: not by epochs.
        steps: after so many updates; 0: not by updates.
        seconds: at the end of the update after so many seconds; 0: not by the clock.
        best: the column of the epoch row whose best value so far is kept; ``"auto"``: ``val_loss``, or ``loss`` where
            nothing is validated; ``""``: none.

    >>> Cadence.parse(["10 epochs", "5 minutes", "best val_accuracy"])
    Cadence(epochs=10, steps=0, seconds=300, best='val_accuracy')
    """

    epochs: int = 0
    steps: int = 0
    seconds: int = 0
    best: str = ""

    @classmethod
    def parse(cls, given: int | str | Sequence[int | str]) -> Cadence:
        """Return the occasions named by a count of epochs, ``"500 steps"``, ``"10 minutes"``, ``"best"``, or a list."""
        found: dict[str, int | str] = {}
        for item in [given] if isinstance(given, (int, str)) else given:
            words = item.split() if isinstance(item, str) else []
            clock = _CLOCK.fullmatch(item) if isinstance(item, str) else None
            value: int | str
            if words and words[0] == "best" and len(words) <= 2:
                name, value = "best", words[1] if len(words) == 2 else "auto"
            elif clock is not None and int(clock[1]) >= 1:
                name, value = "seconds", int(clock[1]) * _SECONDS[clock[2]]
            else:
                try:
                    every = Every.parse("checkpoint_every", item)
                except ValueError as error:
                    said = str(error).removesuffix(".").removeprefix("fit: ")
                    raise ValueError(f"fit: {said}, '10 minutes', 'best', or a list of those.") from None
                name, value = every.unit, every.count
            if name in found:
                raise ValueError(f"fit: checkpoint_every={given!r} names {name} twice; name each occasion once.")
            found[name] = value
        return cls(**found)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Settings:
    """The numbers of one fit.

    Args:
        epochs: passes over the data in all, resumed ones included, >= 1.
        accumulate: micro-batches per update, >= 1.
        log_every: how often a line is printed; None: about twenty lines in all.
        checkpoint_every: how often a run directory gets a checkpoint: as :meth:`Cadence.parse` reads it.
        keep: newest checkpoints that are kept, >= 1; the best one and the last one without NaN are kept besides.
        flush_every: updates after which recorded values are brought to the host, >= 1; a non-finite loss is noticed
            at most so many updates late.
        log_events: also print each event (a change of rate by a controller or a step schedule).
        verbose: print lines and a progress bar.
        guard: what becomes of losses and gradients that are not finite, and of spikes of the loss.
        loggers: where values go besides the run directory's files: ``"tensorboard"``, ``"wandb"``.
        change: what a resumed run may do otherwise than the checkpoint says, by name; see :data:`CHANGES`.
    """

    epochs: int = 1
    accumulate: int = 1
    log_every: int | str | None = None
    checkpoint_every: int | str | Sequence[int | str] = "1 epochs"
    keep: int = 2
    flush_every: int = 128
    verbose: bool = True
    log_events: bool = False
    guard: Guard = field(default_factory=Guard)
    change: Sequence[str] = ()
    loggers: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "guard", Guard.of(self.guard))
        object.__setattr__(self, "change", check_changes(self.change))
        object.__setattr__(self, "loggers", check_loggers(self.loggers))
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
    def cadence(self) -> Cadence:
        """When checkpoints are written."""
        return Cadence.parse(self.checkpoint_every)

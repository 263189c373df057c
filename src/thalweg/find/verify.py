"""Candidates decided by short trainings and their validation losses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ..data import Source
from ..loop import evaluate
from .parts import Parts, Updates
from .trace import Snapshot

__all__ = ["Trial", "most_updates", "verify"]

_MOST = 6  # candidates that are tried at most
_CLOSE = 0.10  # of the best fall: a lower rate that comes as near as this catches up in a longer training
_OTHER_EPOCH = 1_000_003  # training batches that decide come from another order than those that train


@dataclass(frozen=True)
class Trial:
    """A candidate's rate, the loss on the deciding data after its short training (infinite: diverged), its updates."""

    lr: float
    loss: float
    steps: int


def most_updates(steps: int) -> int:
    """Return the updates that a verification with short trainings of *steps* can cost at most."""
    return _MOST * steps


def lattice(index: int) -> float:
    """Return the round rate number *index*: …, 1e-3 (-6), 3e-3 (-5), 1e-2 (-4), ….

    >>> [lattice(i) for i in (-4, -3, -2)]
    [0.01, 0.03, 0.1]
    """
    return float(f"{3 if index % 2 else 1}e{index // 2}")


def nearest(rate: float) -> int:
    """Return the number of the round rate nearest to *rate* in logarithms.

    >>> lattice(nearest(0.0025))
    0.003
    """
    guess = round(2 * math.log10(rate))
    return min((guess - 1, guess, guess + 1), key=lambda i: abs(math.log(lattice(i) / rate)))


def verify(parts: Parts, snapshot: Snapshot, start: float, steps: int) -> tuple[list[Trial], float | None, float]:
    r"""Train shortly at round rates around *start* and decide by the loss on the validation data.

    A short training makes *steps* updates along a cosine from its rate to zero, from the model's present weights; the
    rates tried are 1, 3, 10, … times a power of ten, beginning next to *start* and going on to the side that is better
    until the best has a worse neighbour on each side, six rates at most. Short trainings like rates that are too high
    for long ones, so of the rates that reach 90 % of the best one's fall the lowest is taken. The trainings run one
    after the other, each from the snapshot.

    Args:
        parts: of the training; ``valid`` decides, or else training batches in another order.
        snapshot: where each training begins.
        start: the rate to begin with.
        steps: updates of a short training.

    Returns:
        (trials in rising order of rate, the rate that is decided for or None, loss before any training).
    """
    deciding = _Some(
        parts.valid if parts.valid is not None else parts.source,
        0 if parts.valid is not None else _OTHER_EPOCH,
        most=max(8, steps),
    )
    snapshot.rewind()
    before = _loss(parts, deciding)
    tried: dict[int, Trial] = {}

    def loss_at(index: int) -> float:
        if index not in tried:
            snapshot.rewind()
            tried[index] = _short_training(parts, deciding, lattice(index), steps)
        return tried[index].loss

    centre = nearest(start)
    loss_at(centre)
    while len(tried) < _MOST:
        best = min(tried, key=lambda i: (tried[i].loss, i))
        if not math.isfinite(tried[best].loss):
            missing = [min(tried) - 1]
        else:
            missing = [i for i in (best + 1, best - 1) if i not in tried]
        if not missing:
            break
        loss_at(missing[0])
    snapshot.rewind()
    trials = [tried[index] for index in sorted(tried)]
    fall = before - min(trial.loss for trial in trials)
    if not (math.isfinite(fall) and fall > 1e-9 * abs(before)):
        return trials, None, before
    chosen = next(trial.lr for trial in trials if before - trial.loss >= (1 - _CLOSE) * fall)
    return trials, chosen, before


def _short_training(parts: Parts, deciding: Source, rate: float, steps: int) -> Trial:
    updates = Updates(parts)
    worst: torch.Tensor | None = None
    made = 0
    for step in range(steps):
        loss = updates.at(rate * 0.5 * (1 + math.cos(math.pi * step / steps)))
        worst = loss if worst is None else torch.maximum(worst, loss)  # NaN stays
        made += 1
        # Looked at now and then: a training that is lost should not go on.
        if made % 8 == 0 and not math.isfinite(float(worst)):
            return Trial(rate, math.inf, made)
    loss_after = _loss(parts, deciding)
    return Trial(rate, loss_after if math.isfinite(loss_after) else math.inf, made)


def _loss(parts: Parts, deciding: Source) -> float:
    objective = parts.valid_objective if parts.valid is not None else parts.objective
    with parts.evaluating():
        return evaluate(objective or parts.objective, deciding, {}, parts.precision)["loss"]


class _Some(Source):
    """The first batches of an epoch of a source."""

    def __init__(self, source: Source, epoch: int, most: int) -> None:
        self.source, self.epoch, self.most = source, epoch, most
        self.n, self.batch_size, self.device = source.n, source.batch_size, source.device
        known = source.steps_per_epoch
        self.steps_per_epoch = most if known is None else min(most, known)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        return islice(self.source.batches(self.epoch), start, self.most)

    def first(self) -> Any:
        return self.source.first()

    def state(self) -> dict[str, Any]:
        return self.source.state()

    def load_state(self, state: dict[str, Any]) -> None:
        self.source.load_state(state)

    def check(self) -> None:
        self.source.check()

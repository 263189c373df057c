"""Candidates decided by short trainings and their validation losses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ..data import Source
from ..loop import evaluate
from .parts import Parts, Updates
from .trace import Snapshot

__all__ = ["Trial", "most_updates", "verify"]

_MOST = 5  # rates that are tried at most
_CLOSE = 0.10  # of the best fall: a lower rate that comes as near as this catches up in a longer training
_LONG = 2.5  # times as long is the training that the chosen rate has to stand
_PLATEAU = 0.75  # share of it at the full rate
_OTHER_EPOCH = 1_000_003  # training batches that decide come from another order than those that train


@dataclass(frozen=True)
class Trial:
    """A rate's short training: the loss on the deciding data afterwards (infinite: diverged), and its updates."""

    lr: float
    loss: float
    steps: int


def most_updates(steps: int) -> int:
    """Return the updates that a verification with short trainings of *steps* can cost at most."""
    return _MOST * steps + _long(steps)


def _long(steps: int) -> int:
    return math.ceil(_LONG * steps)


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


def verify(parts: Parts, snapshot: Snapshot, start: float, steps: int) -> tuple[list[Trial], float | None]:
    r"""Train shortly at round rates around *start* and decide by the loss on the validation data.

    A short training makes *steps* updates along a cosine from its rate to zero, from the model's present weights; the
    rates tried are 1, 3, 10, … times a power of ten, beginning next to *start* and going on to the side that is better
    until the best has a worse neighbour on each side, five rates at most.

    Short trainings like rates that are too high for long ones. Two things are held against that: of the rates that
    reach 90 % of the best one's fall the lowest is taken; and this one has to stand a training 2.5 times as long, three
    quarters of it at the full rate. If that ends no better than the short one at the next lower rate, the lower rate is
    taken. The trainings run one after the other, each from the snapshot and through the same batches.

    Args:
        parts: of the training; ``valid`` decides, or else training batches in another order.
        snapshot: where each training begins.
        start: the rate to begin with.
        steps: updates of a short training.

    Returns:
        (trials, the short ones in rising order of rate and the long one last; the rate that is decided for, or None).
    """
    deciding = _Some(
        parts.valid if parts.valid is not None else parts.source,
        0 if parts.valid is not None else _OTHER_EPOCH,
        most=max(8, steps),
    )
    snapshot.rewind()
    before = _loss(parts, deciding)
    tried: dict[int, Trial] = {}
    missing = [nearest(start)]
    while missing and len(tried) < _MOST:
        index = missing[0]
        snapshot.rewind()
        curve = [0.5 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
        tried[index] = _train(parts, deciding, lattice(index), curve)
        best = min(tried, key=lambda i: (tried[i].loss, i))
        around = (best + 1, best - 1) if tried[best].loss < before else (min(tried) - 1,)
        missing = [i for i in around if i not in tried]
    trials = [tried[index] for index in sorted(tried)]
    fall = before - min(trial.loss for trial in trials)
    if not (math.isfinite(fall) and fall > 1e-9 * abs(before)):
        return trials, None
    chosen = next(i for i in sorted(tried) if before - tried[i].loss >= (1 - _CLOSE) * fall)
    count = _long(steps)
    flat = round(_PLATEAU * count)
    snapshot.rewind()
    curve = [1.0] * flat + [1 - (step + 1) / (count - flat + 1) for step in range(count - flat)]
    trials.append(_train(parts, deciding, lattice(chosen), curve))
    lower = tried.get(chosen - 1)
    # Without a neighbour below (five rates were not enough) it has to be better than before any training.
    stands = trials[-1].loss < min(before, math.inf if lower is None else lower.loss)
    return trials, lattice(chosen if stands else chosen - 1)


def _train(parts: Parts, deciding: Source, rate: float, curve: Sequence[float]) -> Trial:
    """Return the trial of a training at *rate* times each value of *curve*."""
    updates = Updates(parts)
    worst: torch.Tensor | None = None
    for made, factor in enumerate(curve, start=1):
        loss = updates.at(rate * factor)
        worst = loss if worst is None else torch.maximum(worst, loss)  # NaN stays
        # Looked at now and then: a training that is lost should not go on.
        if made % 8 == 0 and not math.isfinite(float(worst)):
            return Trial(rate, math.inf, made)
    after = _loss(parts, deciding)
    return Trial(rate, after if math.isfinite(after) else math.inf, len(curve))


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

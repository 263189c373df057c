"""Candidates decided by short trainings and their validation losses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .parts import Parts
from .trace import Snapshot
from .trials import Trainer, Trial, trainer_of

__all__ = ["Trial", "most_updates", "verify"]

_BUDGET = 14  # short trainings' worth of updates in all
_SHORT = 7  # rates of the first rung at most, half a decade apart; four are usual
_FURTHER = 3  # times as long is a training of the second rung, of which there are two, or three where that is left
_CLOSE = 0.06  # of the least loss, or of its fall: a lower rate as near as this is ahead in a longer training


def most_updates(steps: int) -> int:
    """Return the updates that a verification with short trainings of *steps* can cost at most."""
    return _BUDGET * steps


def lattice(index: int) -> float:
    """Return the round rate number *index*, four to a decade: …, 1e-2 (-8), 1.8e-2 (-7), 3.2e-2, 5.6e-2, 1e-1 (-4), ….

    >>> [lattice(i) for i in (-8, -7, -6, -5, -4)]
    [0.01, 0.018, 0.032, 0.056, 0.1]
    """
    return float(f"{10 ** (index / 4):.1e}")


def nearest(rate: float) -> int:
    """Return the number of the round rate nearest to *rate* in logarithms, of those half a decade apart.

    >>> lattice(nearest(0.025))
    0.032
    """
    return 2 * round(2 * math.log10(rate))


def verify(parts: Parts, snapshot: Snapshot, start: float, steps: int) -> tuple[list[Trial], float | None]:
    r"""Train shortly at round rates around *start* and decide by the loss on the validation data.

    Every training goes along a cosine from its rate to zero, from the model's present weights and through the same
    batches. There are two rungs:

    1. *steps* updates at rates half a decade apart: the one next to *start*, its two neighbours, and on from the end
       of these as long as that end is the best, seven rates at most;
    2. 3 *steps* updates at the best of them, at the rate a quarter of a decade below, and, where this comes within 6 %
       of the other's loss and the first rung has had five rates at most, at the next one below.

    The lowest rate of the second rung within 6 % of its least loss is taken. Short trainings like rates that are too
    high for long ones: noise and instability show late, while a low rate catches up. So the second rung looks
    downwards, and what is nearly equal there is decided for the lower rate.

    Args:
        parts: of the training; ``valid`` decides, or else training batches in another order.
        snapshot: where each training begins.
        start: the rate to begin with.
        steps: updates of a short training.

    Returns:
        (trials: the first rung's in rising order of rate, then the second's; the rate that is decided for, or None).

    Source: successive halving, Jamieson and Talwalkar, *Non-stochastic Best Arm Identification and Hyperparameter
    Optimization*, AISTATS 2016; the numbers from trainings of other seeds (docs/learning_rates.md).
    """
    trainer = trainer_of(parts, snapshot, most=max(8, steps))
    before = trainer.before()
    middle = nearest(start)
    first = _tried(trainer, (middle - 2, middle, middle + 2), steps)
    while len(first) < _SHORT:
        best = _best(first)
        if before <= first[best].loss or best == min(first):
            first |= _tried(trainer, (min(first) - 2,), steps)
        elif best == max(first):
            first |= _tried(trainer, (best + 2,), steps)
        else:
            break
    trials = [first[index] for index in sorted(first)]
    best = _best(first)
    if not _falls(before, first[best].loss):
        return trials, None
    second = _tried(trainer, (best, best - 1), _FURTHER * steps)
    left = _BUDGET - len(first) - _FURTHER * len(second)
    if left >= _FURTHER and _close(before, second[best].loss, second[best - 1].loss):
        second |= _tried(trainer, (best - 2,), _FURTHER * steps)
    trials += [second[index] for index in sorted(second)]
    least = second[_best(second)].loss
    if not _falls(before, least):
        return trials, None
    return trials, lattice(min(index for index, trial in second.items() if _close(before, least, trial.loss)))


def _tried(trainer: Trainer, indices: Sequence[int], steps: int) -> dict[int, Trial]:
    found = trainer.train([lattice(index) for index in indices], steps)
    return dict(zip(indices, found, strict=True))


def _best(tried: dict[int, Trial]) -> int:
    return min(tried, key=lambda index: (tried[index].loss, index))


def _falls(before: float, loss: float) -> bool:
    """Whether the training did anything."""
    fall = before - loss
    return math.isfinite(fall) and fall > 1e-9 * abs(before)


def _close(before: float, loss: float, lower: float) -> bool:
    """Whether the *lower* rate's loss comes near to another's, measured by that loss or by its fall if this is less."""
    return lower - loss <= _CLOSE * min(abs(loss), before - loss)

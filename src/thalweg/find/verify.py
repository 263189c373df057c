"""Candidates decided by short trainings and their validation losses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .parts import Parts
from .trace import Snapshot
from .trials import Trainer, Trial, trainer_of

__all__ = ["Trial", "most_updates", "verify"]

_BUDGET = 11  # short trainings' worth of updates in all
_SHORT = 7  # rates of the first rung at most, half a decade apart; three or four are usual
_LONGER = 2  # times as long is a training of the second rung
_LONG = 3  # rates of the second rung at least, a quarter of a decade apart
_ROUNDING = 1e-6  # of a loss: no difference at all, as where a rule that clips its steps makes them all alike
_NOISE = 0.05  # of the least loss, or of its fall: by so much losses of short trainings differ for no reason


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


def weighed(before: float, losses: dict[int, float]) -> int:
    r"""Return the number of the rate in the middle of those that noise cannot tell from the best.

    .. math:: \operatorname{round} \frac{\sum_i w_i \, i}{\sum_i w_i}, \qquad
        w_i = \exp\left( -\frac{l_i - l_\min}{0.05 \, \min(|l_\min|, l_0 - l_\min)} \right)

    over rates number *i* with losses :math:`l_i` after, and :math:`l_0` before training. A loss 5 % above the least one
    has the weight 0.37, one 20 % above it 0.02, and an infinite one none.

    Args:
        before: :math:`l_0`.
        losses: number → :math:`l_i`; the least is below *before*.

    >>> weighed(2.3, {-8: 0.50, -7: 0.51, -6: 0.50}), weighed(2.3, {-8: 0.50, -7: 0.70, -6: math.inf})
    (-7, -8)
    """
    least = min(losses.values())
    noise = _NOISE * min(abs(least), before - least)
    if noise == 0.0:  # nothing is left of the loss
        return min(index for index, loss in losses.items() if loss == least)
    weights = {index: math.exp(-(loss - least) / noise) for index, loss in losses.items()}
    mean = sum(index * weight for index, weight in weights.items()) / sum(weights.values())
    return math.floor(mean + 0.5 - _ROUNDING)  # half-way between two is the lower


def verify(parts: Parts, snapshot: Snapshot, start: float, steps: int) -> tuple[list[Trial], float | None]:
    r"""Train shortly at round rates around *start* and decide by the loss on the validation data.

    Every training begins with the model's present weights, goes through the same batches, holds its rate for two thirds
    of its updates and lets it fall to zero along a line. There are two rungs:

    1. *steps* updates at rates half a decade apart: the one next to *start*, its two neighbours, and on from the end
       of these as long as that end is the best and the budget of 11 *steps* updates leaves room for the second rung;
    2. 2 *steps* updates at the best of them, at the rates a quarter of a decade below and above, and again on from
       the end that is the best with what is left of the budget.

    The second rung's mean of log rates, weighted by how near each loss is to the least (:func:`weighed`), is taken.

    The rate is held because a short training that lets it fall from the beginning is through with the high rates before
    these can do harm, and so prefers rates at which a long one breaks.

    Args:
        parts: of the training; ``valid`` decides, or else training batches in another order.
        snapshot: where each training begins.
        start: the rate to begin with.
        steps: updates of a short training.

    Returns:
        (trials: the first rung's in rising order of rate, then the second's; the rate that is decided for, or None).

    Source: successive halving, Jamieson and Talwalkar, *Non-stochastic Best Arm Identification and Hyperparameter
    Optimization*, AISTATS 2016; the held rate, Hägele et al., *Scaling Laws and Compute-Optimal Training Beyond Fixed
    Training Durations*, 2024; the numbers from trainings of other seeds (docs/learning_rates.md).
    """
    trainer = trainer_of(parts, snapshot, most=max(8, steps))
    before = trainer.before()
    middle = nearest(start)
    first = _tried(trainer, (middle - 2, middle, middle + 2), steps)
    reserved = (1 + _LONG * _LONGER) * steps
    while len(first) < _SHORT and _made(first) + reserved <= most_updates(steps):
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
    second = _tried(trainer, (best - 1, best, best + 1), _LONGER * steps)
    while _made(first) + _made(second) + _LONGER * steps <= most_updates(steps):
        best = _best(second)
        if best == min(second):
            second |= _tried(trainer, (best - 1,), _LONGER * steps)
        elif best == max(second):
            second |= _tried(trainer, (best + 1,), _LONGER * steps)
        else:
            break
    trials += [second[index] for index in sorted(second)]
    if not _falls(before, second[_best(second)].loss):
        return trials, None
    return trials, lattice(weighed(before, {index: trial.loss for index, trial in second.items()}))


def _tried(trainer: Trainer, indices: Sequence[int], steps: int) -> dict[int, Trial]:
    found = trainer.train([lattice(index) for index in indices], steps)
    return dict(zip(indices, found, strict=True))


def _made(tried: dict[int, Trial]) -> int:
    return sum(trial.steps for trial in tried.values())


def _best(tried: dict[int, Trial]) -> int:
    """Return the lowest of the rates whose losses differ from the least by rounding alone."""
    least = min(trial.loss for trial in tried.values())
    return min(index for index, trial in tried.items() if trial.loss <= least + _ROUNDING * abs(least))


def _falls(before: float, loss: float) -> bool:
    """Whether the training did anything."""
    fall = before - loss
    return math.isfinite(fall) and fall > 1e-9 * abs(before)

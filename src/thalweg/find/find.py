"""The finder: a sweep, what it suggests, and short trainings that decide."""

from __future__ import annotations

import math
from dataclasses import replace

from .finding import Finding, finding_of
from .parts import Parts, rate_ratios
from .ranges import rate_range
from .rereadable import check_rereadable
from .suggest import CHOSEN, edge, suggest
from .sweep import Kind, rates_of, sweep
from .trace import Snapshot, no_trace
from .verify import most_updates, verify

__all__ = ["find"]

_BELOW = 5.0  # times lower than the edge of a sweep is where trials begin at the highest
SHARE = 0.10  # of the plan's updates: what a verification may cost without being asked for


def find(
    parts: Parts,
    *,
    low: float | None = None,
    high: float | None = None,
    steps: int = 100,
    kind: Kind = "exponential",
    pretrained: bool = False,
    check: bool | None = None,
    check_steps: int = 20,
    planned: int | None = None,
) -> Finding:
    """Sweep the rate, read suggestions off the curve, verify them, and leave the model as it was.

    Args:
        parts: of the training; nothing in it is different afterwards.
        low, high: the range of rates; None: by the rule (:func:`rate_range`).
        steps: updates of the sweep, at least 20; it ends earlier where the loss diverges.
        kind: ``"exponential"`` or ``"linear"``.
        pretrained: whether the weights come from an earlier training; lowers the range.
        check: whether short trainings decide; None: where they cost at most a tenth of *planned* updates.
        check_steps: updates of a short training; the verification makes 11 times as many at most.
        planned: updates of the training that is to come, or None where it is not known.

    Raises:
        ValueError: an empty range, a loss that is not finite from the start, data that can be read only once, a rule
            that computes its own rate.
    """
    rate_ratios(parts.optimizer)
    lowest, highest = rate_range(parts.optimizer, pretrained)
    rates = rates_of(lowest if low is None else low, highest if high is None else high, steps, kind)
    checked = check if check is not None else planned is not None and most_updates(check_steps) <= SHARE * planned
    sources = [source for source in (parts.source, parts.valid) if source is not None]
    with no_trace(parts.module, parts.optimizer, *sources) as snapshot:
        for source in sources:
            check_rereadable(source)
        snapshot.rewind()
        swept = sweep(parts, rates)
        found = suggest(swept.lr, swept.loss, at_end=swept.stopped.startswith("end"))
        facts = {"low": float(rates[0]), "high": float(rates[-1]), "stopped": swept.stopped}
        result = finding_of(found, swept.lr, swept.loss, updates=len(swept.lr), **facts)
        return _verified(result, parts, snapshot, check_steps) if checked else result


def _verified(result: Finding, parts: Parts, snapshot: Snapshot, steps: int) -> Finding:
    # The best rate lies a little below the edge, however little else the curve shows.
    start = min(result.suggestions.get(CHOSEN, math.inf), edge(result.lr, result.loss) / _BELOW)
    trials, chosen = verify(parts, snapshot, start, steps)
    return replace(
        result,
        suggestion=chosen,
        method="verified" if chosen is not None else "",
        reason="" if chosen is not None else "no rate that was tried lowered the validation loss",
        trials=tuple(trials),
        decided_by="validation data" if parts.valid is not None else "training data",
        updates=result.updates + sum(trial.steps for trial in trials),
    )

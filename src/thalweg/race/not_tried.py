"""What a race did not try, said plainly."""

from __future__ import annotations

from collections.abc import Sequence

from .candidate import Candidate, rule_name
from .leaderboard import Standing

__all__ = ["not_tried"]

_USUAL = ("sgd", "adam", "adamw", "lion", "muon(adamw)")


def not_tried(
    board: Sequence[Standing], candidates: Sequence[Candidate], batch_size: int | None, steps: int
) -> list[str]:
    """Return sentences on what the result does not speak about."""
    found: list[str] = []
    names = sorted({rule_name(candidate.rule) for candidate in candidates})
    missing = [name for name in _USUAL if name not in names]
    if missing:
        found.append(f"Rules other than {', '.join(names)} (for example {', '.join(missing)}) did not race.")
    found += _edges(board)
    still = _untouched(candidates)
    if still:
        found.append(f"Left at one value: {', '.join(still)}.")
    if not any(candidate.setting.schedules for candidate in candidates):
        found.append("No schedule raced: every rate was constant.")
    seeds = len({candidate.seed for candidate in candidates})
    if seeds == 1:
        found.append("One seed: how far seeds alone move the losses is not known.")
    if all(candidate.order is None for candidate in candidates):
        found.append("All saw the same batches: how far the order of the data moves the losses is not known.")
    size = "" if batch_size is None else f"Batches of {batch_size} rows only. "
    found.append(f"{size}No training was longer than {steps:,} updates; ranks may change in longer ones.")
    return found


def _edges(board: Sequence[Standing]) -> list[str]:
    """Return a sentence for each rule whose best rate lies at the end of the rates tried."""
    lines: list[str] = []
    rates: dict[str, set[float]] = {}
    best: dict[str, Standing] = {}
    for standing in board:
        lr = standing.candidate.rule.lr
        if lr is None or standing.verdict == "diverged":
            if lr is not None:
                rates.setdefault(rule_name(standing.candidate.rule), set()).add(float(lr))
            continue
        name = rule_name(standing.candidate.rule)
        rates.setdefault(name, set()).add(float(lr))
        best.setdefault(name, standing)
    for name, standing in best.items():
        tried, lr = sorted(rates[name]), float(standing.candidate.rule.lr)
        if len(tried) > 1 and lr in (tried[0], tried[-1]):
            side = "lower" if lr == tried[0] else "higher"
            lines.append(f"{name}'s best rate, {lr:g}, is the {side[:-2]}est tried: {side} ones may be better.")
    return lines


def _untouched(candidates: Sequence[Candidate]) -> list[str]:
    values: dict[str, set[str]] = {}
    for candidate in candidates:
        for name, value in candidate.settings().items():
            values.setdefault(name, set()).add(repr(value))
    kept = ("momentum", "betas", "weight_decay", "eps")
    return [f"{name} = {next(iter(values[name]))}" for name in kept if len(values.get(name, ())) == 1]

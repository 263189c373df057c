"""Candidates from lists of values."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..errors import check_number, did_you_mean, listing
from ..optim import Rule
from ..optim import make as make_rule
from .candidate import Candidate, rule_name

__all__ = ["grid", "linear", "log"]


def _span(who: str, low: float, high: float, count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{who}: {count!r} values were asked for; give a whole number >= 1.")
    check_number(who, "low", low)
    check_number(who, "high", high)
    if low > high:
        raise ValueError(f"{who}: the range {low:g} … {high:g} runs backwards; give the lower end first.")
    if count > 1 and low == high:
        raise ValueError(f"{who}: {count} values between {low:g} and {high:g} are all the same; widen the range.")


def log(low: float, high: float, count: int) -> list[float]:
    """Return *count* values from *low* to *high* with equal ratios, to twelve significant digits.

    Raises:
        ValueError: a range that runs backwards or does not lie above 0; no values.

    >>> log(1e-4, 1e-1, 4)
    [0.0001, 0.001, 0.01, 0.1]
    """
    check_number("race.log", "low", low, low=0.0, low_open=True, advice="ratios need positive ends")
    _span("race.log", low, high, count)
    return [float(f"{value:.12g}") for value in np.geomspace(low, high, count)]


def linear(low: float, high: float, count: int) -> list[float]:
    """Return *count* equally spaced values from *low* to *high*.

    Raises:
        ValueError: a range that runs backwards; no values.

    >>> linear(0.0, 0.2, 3)
    [0.0, 0.1, 0.2]
    """
    _span("race.linear", low, high, count)
    return [float(f"{value:.12g}") for value in np.linspace(low, high, count)]


def _seeds(given: int | Iterable[int]) -> list[int]:
    if isinstance(given, int) and not isinstance(given, bool):
        if given < 1:
            raise ValueError(f"race.grid: seeds={given} leaves nobody to race; give a number >= 1, or a list of seeds.")
        return list(range(given))
    found: list[int] = list(given) if isinstance(given, Iterable) else [given]
    if not found or any(isinstance(seed, bool) or not isinstance(seed, int) for seed in found):
        raise ValueError(f"race.grid: seeds={given!r} is no list of whole numbers; give a number >= 1, or such a list.")
    if len(set(found)) < len(found):
        raise ValueError(f"race.grid: seeds={found} names a seed twice; the same training twice tells nothing new.")
    return found


def _listed(value: Any) -> list[Any]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, (list, range, np.ndarray)):
        return [value]
    found = value.tolist() if isinstance(value, np.ndarray) else list(value)
    if not found:
        raise ValueError("race.grid: an empty list of values leaves nobody to race; give at least one.")
    return found


def grid(
    optimizer: Any = "adamw",
    *,
    seeds: int | Sequence[int] = 1,
    order: Literal["shared", "own"] = "shared",
    schedule: Any = None,
    clip_norm: Any = None,
    clip_value: Any = None,
    label_smoothing: Any = None,
    **hyper: Any,
) -> list[Candidate]:
    """Return every combination of the values given, each with every seed.

    Grids add up: ``grid("sgd", momentum=[0.0, 0.9], …) + grid("adamw", …)``.

    Args:
        optimizer: a rule, a name, or a list of them.
        seeds: how many (0, 1, …), or which.
        order: ``"shared"``: all see the same batches; ``"own"``: each seed has its own order of the data.
        schedule, clip_norm, clip_value, label_smoothing: one value or a list; a schedule's mapping counts as one.
        **hyper: hyperparameters of the rules, one value or a list; tuples (``betas``) count as one value.

    Raises:
        ValueError: no seeds, an empty list, a hyperparameter that a rule has not.

    >>> field = grid(["sgd", "adamw"], lr=log(1e-3, 1e-1, 3), weight_decay=[0.0, 0.1], seeds=2)
    >>> len(field), str(field[0])
    (24, 'sgd lr=0.001 seed=0')
    """
    if order not in ("shared", "own"):
        raise ValueError(
            f"race.grid: order={order!r} must be 'shared' or 'own'.{did_you_mean(str(order), ['shared', 'own'])}"
        )
    rules = [make_rule(given, "race.grid") for given in _listed(optimizer)]
    names = list(hyper)
    chosen = _seeds(seeds)
    others = [_listed(value) for value in (schedule, clip_norm, clip_value, label_smoothing)]
    found: list[Candidate] = []
    for rule in rules:
        _check_known(rule, names)
        for values in itertools.product(*(_listed(hyper[name]) for name in names)):
            own = rule.with_hyper(dict(zip(names, values, strict=True))) if names else rule
            for plan, norm, value, smoothing in itertools.product(*others):
                for seed in chosen:
                    found.append(Candidate(own, plan, norm, value, smoothing, seed, seed if order == "own" else None))
    return found


def _check_known(rule: Rule, names: Sequence[str]) -> None:
    known = rule.hyper()
    for name in names:
        if name not in known:
            raise ValueError(
                f"race.grid: {rule_name(rule)} has no hyperparameter {name!r}.{did_you_mean(name, known)} It has: "
                f"{listing(known)}. Give rules that differ in what they have a grid each, and add the grids."
            )

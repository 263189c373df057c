"""``[schedule]``: of the rate, or one per hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg import schedule
from thalweg.schedule import Constant, Schedule

from ..arguments import check_keys
from ..names import Names

__all__ = ["check", "make", "named"]


def named(given: Any) -> Any:
    """Return plain data in which every schedule that is only a name is a table.

    >>> named({"lr": "cosine", "momentum": {"name": "join", "parts": ["constant", {"name": "cosine"}]}})
    {'lr': {'name': 'cosine'}, 'momentum': {'name': 'join', 'parts': [{'name': 'constant'}, {'name': 'cosine'}]}}
    """
    if isinstance(given, str):
        return {"name": given}
    if isinstance(given, list):
        return [named(part) for part in given]
    if not isinstance(given, Mapping):
        return given
    if "name" not in given:
        return {key: named(value) for key, value in given.items()}
    return {key: named(value) if key in ("parts", "schedule") else value for key, value in given.items()}


def make(given: Mapping[str, Any], place: str, names: Names) -> dict[str, Schedule]:
    """Return hyperparameter → schedule; empty for a constant rate, which needs none.

    Raises:
        ValueError: an unknown name, hyperparameter or key; a value that the schedule refuses.
        TypeError: something that describes no schedule; a value of the wrong type.
    """
    found = schedule.by_hyper(_resolved(named(given), place, names), place)
    return {} if found == {"lr": Constant()} else found


def check(given: Mapping[str, Any], place: str, names: Names) -> dict[str, Any]:
    """Return the complete section.

    Raises:
        ValueError, TypeError: as :func:`make`.
    """
    plain = {name: schedule.to_dict(one) for name, one in make(given, place, names).items()}
    if not plain:
        return schedule.to_dict(Constant())
    return plain["lr"] if "name" in given else plain


def _resolved(given: Any, place: str, names: Names) -> Any:
    """Return the data with names as the table writes them, after a look at the keys."""
    if not isinstance(given, Mapping):
        return given
    if "name" not in given:
        return {key: _resolved(value, f"{place} {key}", names) for key, value in given.items()}
    _, kind = names.schedule.find(given["name"], place)
    settings = {key: value for key, value in given.items() if key != "name"}
    check_keys(place, kind, settings)
    return schedule.make(kind, place, **settings)

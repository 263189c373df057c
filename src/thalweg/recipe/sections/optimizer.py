"""``[optimizer]``: an update rule with its settings, or one of torch's optimizers by its place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import torch

from thalweg import optim
from thalweg.optim import Rule

from ..arguments import check_keys, plain, with_defaults
from ..names import Names

__all__ = ["check", "make"]

Made = Rule | Callable[..., torch.optim.Optimizer]


def make(given: Mapping[str, Any], place: str, names: Names) -> Made:
    """Return the rule, or a factory of torch's optimizer.

    Raises:
        ValueError: an unknown name or key, a value that the rule refuses.
        TypeError: what was imported makes no optimizer; a value of the wrong type.
    """
    name, kind = names.optimizer.find(given["name"], place)
    settings = {key: value for key, value in given.items() if key != "name"}
    if inspect.isclass(kind) and issubclass(kind, Rule):
        check_keys(place, kind, settings)
        return optim.make(kind, place, **settings)
    if not callable(kind) or (inspect.isclass(kind) and not issubclass(kind, torch.optim.Optimizer)):
        raise TypeError(
            f"{place}: {name!r} is {kind!r}; name an update rule, a torch optimizer, or a function that makes one."
        )
    factory = functools.partial(kind, **{key: _tuples(value) for key, value in settings.items()})
    check_keys(place, _without_params(kind), settings)
    return factory


def check(given: Mapping[str, Any], place: str, names: Names) -> dict[str, Any]:
    """Return the complete section.

    Raises:
        ValueError, TypeError: as :func:`make`.
    """
    made = make(given, place, names)
    name, kind = names.optimizer.find(given["name"], place)
    if not isinstance(made, Rule):
        return {"name": name, **with_defaults(_without_params(kind), {k: v for k, v in given.items() if k != "name"})}
    if type(made) in optim.NAMES.values():
        return _without_nothing(dict(plain(optim.to_dict(made))), made, place)
    return {"name": name, **plain({field.name: getattr(made, field.name) for field in fields(made)})}  # type: ignore[arg-type]


def _without_nothing(section: dict[str, Any], made: Rule, place: str) -> dict[str, Any]:
    """Leave out defaults with a nothing inside (Adafactor's ``eps = (None, 1e-3)``), for which TOML has no word.

    Raises:
        ValueError: such a value that is no default.
    """
    defaults = {field.name: field.default for field in fields(made)}  # type: ignore[arg-type]
    kept = {}
    for name, value in section.items():
        if not isinstance(value, list) or None not in value:
            kept[name] = value
        elif tuple(value) != defaults[name]:
            raise ValueError(f"{place}: {name} = {tuple(value)} holds a None, which TOML cannot; give a number.")
    return kept


def _without_params(kind: Callable[..., Any]) -> Callable[..., Any]:
    """Return *kind* with its first argument, the parameters, taken care of."""
    return functools.partial(kind, None)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value

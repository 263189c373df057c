"""Rules by name, and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import did_you_mean, listing, unknown_name
from .adam import Adam
from .adamw import AdamW
from .base import Rule
from .sgd import SGD

__all__ = ["NAMES", "from_dict", "make", "to_dict"]

NAMES: dict[str, type[Rule]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


def make(given: str | Rule | type[Rule] | Mapping[str, Any], where: str = "optimizer", **settings: Any) -> Rule:
    """Return a rule from its name, class, plain data, or itself.

    Raises:
        ValueError: an unknown name or setting, with the nearest known one.
        TypeError: something that describes no rule.

    >>> make("adamw", lr=3e-4).lr
    0.0003
    >>> make({"name": "sgd", "momentum": 0.9}).momentum
    0.9
    """
    if isinstance(given, Rule):
        if settings:
            raise TypeError(
                f"{where}: got a finished rule {given!r} and settings {sorted(settings)} as well; "
                "put them in the rule, or name the rule by a string."
            )
        return given
    if isinstance(given, Mapping):
        return from_dict({**given, **settings}, where)
    if isinstance(given, type) and issubclass(given, Rule):
        return _build(given, settings, where)
    if not isinstance(given, str):
        raise TypeError(
            f"{where}: {given!r} describes no update rule; pass a name ({listing(NAMES)}) or a rule such as "
            "tw.optim.AdamW(lr=1e-3)."
        )
    key = given.lower().replace("-", "_")
    if key not in NAMES:
        raise unknown_name(where, "optimizer", given, NAMES)
    return _build(NAMES[key], settings, where)


def _build(kind: type[Rule], settings: Mapping[str, Any], where: str) -> Rule:
    known = [field.name for field in fields(kind)]
    for name in settings:
        if name not in known:
            raise ValueError(
                f"{where}: {kind.__name__} has no setting {name!r}.{did_you_mean(name, known)} It has: {listing(known)}."
            )
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})


def to_dict(rule: Rule) -> dict[str, Any]:
    """Return the rule as plain data: its name and every hyperparameter.

    >>> to_dict(SGD(lr=0.1))["name"]
    'sgd'
    >>> from_dict(to_dict(SGD(lr=0.1))) == SGD(lr=0.1)
    True
    """
    name = next((name for name, kind in NAMES.items() if type(rule) is kind), None)
    if name is None:
        raise ValueError(f"optimizer: {type(rule).__name__} has no name in recipes; known: {listing(NAMES)}.")
    plain: dict[str, Any] = {"name": name}
    for field in fields(rule):
        value = getattr(rule, field.name)
        plain[field.name] = list(value) if isinstance(value, tuple) else value
    return plain


def from_dict(plain: Mapping[str, Any], where: str = "optimizer") -> Rule:
    """Return the rule that :func:`to_dict` (or a recipe) describes.

    Raises:
        ValueError: no name, an unknown name or an unknown setting.

    >>> from_dict({"name": "adam", "betas": [0.9, 0.99]}).betas
    (0.9, 0.99)
    """
    if "name" not in plain:
        raise ValueError(f"{where}: the key 'name' is missing; known optimizers: {listing(NAMES)}.")
    settings = {key: value for key, value in plain.items() if key != "name"}
    return make(str(plain["name"]), where, **settings)

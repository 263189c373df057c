"""Rules by name, and as plain data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from thalweg.errors import did_you_mean, listing, unknown_name
from thalweg.optim.adadelta import Adadelta
from thalweg.optim.adafactor import Adafactor
from thalweg.optim.adagrad import Adagrad
from thalweg.optim.adam import Adam
from thalweg.optim.adamax import Adamax
from thalweg.optim.adamw import AdamW
from thalweg.optim.averaged import Averaged
from thalweg.optim.base import Rule
from thalweg.optim.foreign import is_foreign
from thalweg.optim.lion import Lion
from thalweg.optim.lookahead import Lookahead
from thalweg.optim.muon import Muon
from thalweg.optim.nadam import NAdam
from thalweg.optim.radam import RAdam
from thalweg.optim.rmsprop import RMSprop
from thalweg.optim.schedule_free_adamw import ScheduleFreeAdamW
from thalweg.optim.schedule_free_sgd import ScheduleFreeSGD
from thalweg.optim.sgd import SGD

__all__ = ["ALIASES", "NAMES", "from_dict", "make", "to_dict"]

NAMES: dict[str, type[Rule]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": NAdam,
    "radam": RAdam,
    "adamax": Adamax,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "adafactor": Adafactor,
    "lion": Lion,
    "muon": Muon,
    "schedule_free_sgd": ScheduleFreeSGD,
    "schedule_free_adamw": ScheduleFreeAdamW,
    "lookahead": Lookahead,
    "averaged": Averaged,
}

# Other spellings that people write; the value is the name in NAMES.
ALIASES: dict[str, str] = {
    "adam_w": "adamw",
    "rms_prop": "rmsprop",
    "ada_factor": "adafactor",
    "sgd_schedule_free": "schedule_free_sgd",
    "sgdschedulefree": "schedule_free_sgd",
    "schedulefree_sgd": "schedule_free_sgd",
    "schedulefreesgd": "schedule_free_sgd",
    "adamw_schedule_free": "schedule_free_adamw",
    "adamwschedulefree": "schedule_free_adamw",
    "schedulefree_adamw": "schedule_free_adamw",
    "schedulefreeadamw": "schedule_free_adamw",
    "ema": "averaged",
    "look_ahead": "lookahead",
}


def make(given: str | Rule | type[Rule] | Mapping[str, Any], where: str = "optimizer", **settings: Any) -> Rule:
    """Return a rule from its name, class, plain data, or itself.

    Raises:
        ValueError: an unknown name or setting, with the nearest known one.
        TypeError: something that describes no rule.

    >>> make("adamw", lr=3e-4).lr
    0.0003
    >>> make({"name": "sgd", "momentum": 0.9}).momentum
    0.9
    >>> make({"name": "lookahead", "rule": {"name": "adam", "lr": 0.01}, "k": 10}).rule.lr
    0.01
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
    if is_foreign(given):
        raise TypeError(
            f"{where}: {given!r} is a torch optimizer and no update rule; it can be used as it is where an "
            f"optimizer is asked for, and the rules here are {listing(NAMES)}."
        )
    if not isinstance(given, str):
        raise TypeError(
            f"{where}: {given!r} describes no update rule; pass a name ({listing(NAMES)}) or a rule such as "
            "tw.optim.AdamW(lr=1e-3)."
        )
    key = given.lower().replace("-", "_").replace(" ", "_")
    key = ALIASES.get(key, key)
    if key not in NAMES:
        error = unknown_name(where, "optimizer", given, NAMES)
        if not did_you_mean(given, NAMES) and (hint := did_you_mean(given, ALIASES)):
            raise ValueError(str(error).replace(". Known", f".{hint} Known", 1))
        raise error
    return _build(NAMES[key], settings, where)


def _build(kind: type[Rule], settings: Mapping[str, Any], where: str) -> Rule:
    known = list(inspect.signature(kind).parameters)
    ready: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(
                f"{where}: {kind.__name__} has no setting {name!r}.{did_you_mean(name, known)} "
                f"It has: {listing(known)}."
            )
        if name in ("rule", "other") and value is not None:
            value = make(value, f"{where}.{name}")
        ready[name] = tuple(value) if isinstance(value, list) else value
    if "rule" in known and "rule" not in ready:
        raise ValueError(
            f"{where}: {kind.__name__} wraps another rule and none is given; name it under 'rule', e.g. rule='adamw'."
        )
    return kind(**ready)


def to_dict(rule: Rule) -> dict[str, Any]:
    """Return the rule as plain data: its name and every hyperparameter, wrapped rules nested.

    >>> to_dict(SGD(lr=0.1))["name"]
    'sgd'
    >>> from_dict(to_dict(SGD(lr=0.1))) == SGD(lr=0.1)
    True
    """
    name = next((name for name, kind in NAMES.items() if type(rule) is kind), None)
    if name is None:
        raise ValueError(f"optimizer: {type(rule).__name__} has no name in recipes; known: {listing(NAMES)}.")
    return {"name": name, **{field.name: _plain(getattr(rule, field.name)) for field in fields(rule)}}  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    if isinstance(value, Rule):
        return to_dict(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, Tensor) else value


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
    return make(plain["name"], where, **settings)

"""Which hyperparameter a schedule acts on, and where an optimizer's group keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from thalweg.errors import listing, unknown_name

from .base import Schedule
from .names import make

__all__ = ["HYPERPARAMETERS", "by_hyper", "has", "read", "resolve", "write"]

#: What schedules act on. ``"momentum"`` is a group's ``momentum``, or its ``betas[0]`` where it has no momentum.
HYPERPARAMETERS = ("lr", "momentum", "weight_decay")

ALIASES = {"beta1": "momentum"}


def by_hyper(given: object, where: str = "schedule") -> dict[str, Schedule]:
    """Return hyperparameter → schedule from what a user may pass; a bare schedule acts on ``lr``.

    Args:
        given: anything that :func:`make` takes, or a mapping of hyperparameters to such things.
        where: who asks, for messages.

    Raises:
        TypeError: something that describes no schedule.
        ValueError: an unknown hyperparameter, or the same one twice (``momentum`` and ``beta1``).

    >>> by_hyper({"lr": "cosine", "weight_decay": "constant"})
    {'lr': Cosine(), 'weight_decay': Constant()}
    """
    if not isinstance(given, Mapping) or "name" in given:
        return {"lr": make(given, where)}
    found: dict[str, Schedule] = {}
    for key, value in given.items():
        name = ALIASES.get(key, key)
        if name not in HYPERPARAMETERS:
            raise unknown_name(where, "hyperparameter", key, [*HYPERPARAMETERS, *ALIASES])
        if name in found:
            raise ValueError(f"{where}: {key!r} is another name of {name!r}, which has a schedule already; keep one.")
        found[name] = make(value, f"{where} {name}")
    return found


def resolve(
    given: object, total_steps: int | None, steps_per_epoch: int | None = None, where: str = "schedule"
) -> dict[str, Schedule]:
    """Return hyperparameter → resolved schedule, with the momentum that belongs to a cycle of the rate.

    A schedule that was given for a hyperparameter goes before a companion of the rate's schedule.

    Args:
        given: as in :func:`by_hyper`.
        total_steps: updates of the run, or None where they are unknown.
        steps_per_epoch: updates in an epoch.
        where: who asks, for messages.

    Raises:
        TypeError: something that describes no schedule.
        ValueError: a schedule that does not fit into the run.

    >>> resolve("one_cycle", total_steps=100)
    {'lr': OneCycle(steps=100), 'momentum': OneCycleMomentum(steps=100)}
    """
    found = {name: one.resolve(total_steps, steps_per_epoch) for name, one in by_hyper(given, where).items()}
    companions = found["lr"].companions if "lr" in found else {}
    return found | {name: companion for name, companion in companions.items() if name not in found}


def _key(group: Mapping[str, Any], name: str) -> str:
    if name == "momentum" and "momentum" not in group and "betas" in group:
        return "betas"
    if name not in group:
        numbers = [key for key in group if key != "params"]
        raise ValueError(
            f"schedule: the optimizer's group has no {name!r} to act on (it has {listing(numbers)}); use an optimizer "
            f"that has one, or no schedule for {name!r} (a cycle's momentum is switched off by moms=())."
        )
    return name


def has(group: Mapping[str, Any], name: str) -> bool:
    """Return whether a group has a hyperparameter that a schedule can act on.

    >>> has({"lr": 0.1, "betas": (0.9, 0.999)}, "momentum"), has({"lr": None}, "lr")
    (True, False)
    """
    if name == "momentum" and "momentum" not in group:
        return group.get("betas") is not None
    return group.get(name) is not None


def read(group: Mapping[str, Any], name: str) -> float:
    """Return a group's hyperparameter as a float.

    Args:
        group: of an optimizer, torch's keys.
        name: one of :data:`HYPERPARAMETERS`.

    Raises:
        ValueError: the group has no such hyperparameter.

    >>> read({"lr": 0.1, "betas": (0.9, 0.999)}, "momentum")
    0.9
    """
    value = group[_key(group, name)]
    return float(value[0] if isinstance(value, (tuple, list)) else value)


def write(group: dict[str, Any], name: str, value: float) -> None:
    """Set a group's hyperparameter; a tensor is filled in place, so that a captured graph sees the change.

    Raises:
        ValueError: the group has no such hyperparameter.

    >>> group = {"lr": 0.1, "betas": (0.9, 0.999)}
    >>> write(group, "momentum", 0.85)
    >>> group["betas"]
    (0.85, 0.999)
    """
    key = _key(group, name)
    held = group[key]
    pair = isinstance(held, (tuple, list))  # betas; a list where they came back from JSON
    first = held[0] if pair else held
    if isinstance(first, torch.Tensor):
        first.fill_(value)
    else:
        group[key] = (value, *held[1:]) if pair else value

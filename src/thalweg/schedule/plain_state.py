"""A torch scheduler's state as data that JSON gives back unchanged."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch

__all__ = ["decoded", "encoded"]

# JSON has no tuples, no infinities, and only texts as keys; torch's schedulers hold all three (MultiStepLR counts its
# milestones in a Counter). What JSON lacks is written as {TAG: kind, "value": …}.
TAG = "__kind__"


def encoded(value: Any, who: str) -> Any:
    """Return *value* in terms of JSON.

    Raises:
        TypeError: *value* holds something that is no plain data, such as a function.

    >>> encoded({"milestones": Counter([30]), "best": float("inf")}, "MultiStepLR")["best"]
    {'__kind__': 'float', 'value': 'inf'}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: "float", "value": repr(value)}
    if isinstance(value, torch.Tensor):
        return encoded(value.item(), who) if value.numel() == 1 else _tagged("tensor", value.tolist(), who)
    if isinstance(value, tuple):
        return _tagged("tuple", list(value), who)
    if isinstance(value, list):
        return [encoded(item, who) for item in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and not isinstance(value, Counter):
            return {key: encoded(item, who) for key, item in value.items()}
        return _tagged("counter" if isinstance(value, Counter) else "dict", [list(pair) for pair in value.items()], who)
    raise TypeError(
        f"{who}: its state holds {value!r}, a {type(value).__name__}, which cannot be saved as plain data; keep "
        "such things out of the scheduler's attributes, or give it a state_dict of its own."
    )


def _tagged(kind: str, value: Any, who: str) -> dict[str, Any]:
    return {TAG: kind, "value": encoded(value, who)}


def decoded(value: Any) -> Any:
    """Return what :func:`encoded` was given.

    >>> decoded(encoded(Counter([30, 30]), "MultiStepLR"))
    Counter({30: 2})
    """
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: decoded(item) for key, item in value.items()}
    kind, inner = value[TAG], decoded(value["value"])
    make: dict[str, Any] = {"float": float, "tuple": tuple, "tensor": torch.tensor, "dict": dict, "counter": _counter}
    return make[kind](inner)


def _counter(pairs: list[list[Any]]) -> Counter[Any]:
    return Counter(dict(pairs))

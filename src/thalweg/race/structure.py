"""Which candidates can share a stack: those whose rules have the same structure."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from ..optim import Rule

__all__ = ["is_number", "structure"]

# Numbers that decide a structure or stand in it as constants, although they are numbers.
_FIXED = ("initial_accumulator_value", "ns_coefficients")
# Numbers also where somebody writes them as ints.
_MEASURES = ("lr", "momentum", "weight_decay", "eps", "alpha", "rho", "d", "dampening")


def is_number(name: str, value: Any) -> bool:
    """Whether a hyperparameter may differ within a stack."""
    if name in _FIXED:
        return False
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and name in _MEASURES)


@lru_cache(maxsize=4096)
def structure(rule: Rule) -> tuple[Any, ...]:
    """Return what members of one stack have in common: classes, flags, whole numbers, and which state there is.

    >>> from thalweg.optim import SGD
    >>> structure(SGD(lr=0.1)) == structure(SGD(lr=1.0, weight_decay=0.1))
    True
    >>> structure(SGD(lr=0.1)) == structure(SGD(lr=0.1, momentum=0.9))   # a buffer more
    False
    """

    def fixed(name: str, value: Any) -> Any:
        if isinstance(value, (tuple, list)) and name not in _FIXED:
            return tuple(fixed(name, item) if not isinstance(item, (int, float)) else "number" for item in value)
        return "number" if is_number(name, value) else value

    hyper = tuple((name, fixed(name, value)) for name, value in rule.hyper().items())
    state = tuple(rule.init(torch.empty(1, 1, device="meta")))
    return (*_classes(rule), hyper, state)


def _classes(rule: Rule) -> tuple[type, ...]:
    inner = [one for one in (getattr(rule, "rule", None), getattr(rule, "other", None)) if isinstance(one, Rule)]
    return (type(rule), *(kind for one in inner for kind in _classes(one)))

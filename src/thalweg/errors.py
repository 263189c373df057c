"""One message format for everything a user can get wrong.

A message says who was asked, what was asked, what arrived, why it cannot work and what to do about it::

    Cosine: warmup_steps=500 must be smaller than total_steps=300; lower one or raise the other.

Users get ``ValueError`` or ``TypeError``; ``assert`` is kept for our own invariants.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

__all__ = ["check_number", "did_you_mean", "listing", "unknown_name"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest of *known*, or an empty string.

    >>> did_you_mean("adamm", ["sgd", "adam", "adamw"])
    " Did you mean 'adam'?"
    >>> did_you_mean("zzz", ["sgd", "adam"])
    ''
    """
    candidates = list(known)
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def listing(names: Iterable[str]) -> str:
    """Return the names sorted and joined for the end of a message.

    >>> listing(["b", "a"])
    'a, b'
    """
    return ", ".join(sorted(names)) or "none"


def unknown_name(where: str, what: str, got: object, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not among *known*.

    >>> print(unknown_name("recipe [optimizer]", "optimizer", "adm", ["adam", "sgd"]))
    recipe [optimizer]: unknown optimizer 'adm'. Did you mean 'adam'? Known: adam, sgd.
    """
    names = list(known)
    return ValueError(f"{where}: unknown {what} {got!r}.{did_you_mean(str(got), names)} Known: {listing(names)}.")


def check_number(
    where: str,
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
    advice: str = "",
) -> None:
    """Raise unless *value* is a real number (not NaN) within the stated bounds.

    Raises:
        TypeError: *value* is not a number.
        ValueError: *value* is NaN or outside the bounds.

    >>> check_number("SGD", "lr", -1.0, low=0.0)
    Traceback (most recent call last):
    ...
    ValueError: SGD: lr=-1.0 must be >= 0; choose a value in that range.
    """
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{where}: {name}={value!r} must be a number, got {type(value).__name__}; pass a float.")
    number = float(value)
    too_low = number < low or (low_open and number == low)
    too_high = number > high or (high_open and number == high)
    if math.isnan(number) or too_low or too_high:
        bounds = []
        if low != -math.inf:
            bounds.append(f"{'>' if low_open else '>='} {low:g}")
        if high != math.inf:
            bounds.append(f"{'<' if high_open else '<='} {high:g}")
        wanted = " and ".join(bounds) or "a number"
        raise ValueError(f"{where}: {name}={value!r} must be {wanted}; {advice or 'choose a value in that range'}.")

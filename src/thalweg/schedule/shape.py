r"""The shapes that a curve falls by, and the way between two values along one of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from thalweg.errors import unknown_name

from .base import Base, FloatArray, IntArray

__all__ = ["Shape", "between", "check_shape", "fall"]

Shape = Literal["linear", "cosine", "1-sqrt", "exponential"]


def check_shape(who: str, name: str, shape: str, known: Iterable[str]) -> None:
    """Raise ``ValueError`` unless *shape* is among *known*."""
    choices = list(known)
    if shape not in choices:
        raise unknown_name(f"{who} {name}", "shape", shape, choices)


def fall(shape: Shape, t: IntArray | FloatArray, length: float | IntArray) -> FloatArray:
    r"""Return the shape at *t*: 1 at ``t = 0``, 0 at ``t = length``.

    .. math::
        \text{linear: } 1 - x,\quad \text{cosine: } \tfrac12 (1 + \cos \pi x),\quad \text{1-sqrt: } 1 - \sqrt x,
        \qquad x = t / \text{length}

    Args:
        shape: one of ``"linear"``, ``"cosine"``, ``"1-sqrt"``.
        t: times within ``[0, length]``, shape ``(n,)``.
        length: > 0, a number or an array of shape ``(n,)``.

    Returns:
        float64, shape ``(n,)``.

    >>> fall("cosine", np.array([0, 1, 2]), 2).round(12)
    array([1. , 0.5, 0. ])
    """
    if shape == "linear":
        return np.asarray((length - t) / length, dtype=np.float64)  # counts subtract exactly, ratios would not
    x = np.asarray(t / length, dtype=np.float64)
    if shape == "cosine":
        return 0.5 * (1.0 + np.cos(np.pi * x))
    assert shape == "1-sqrt", shape
    return 1.0 - np.sqrt(x)


def between(shape: Shape, first: Base, last: Base, t: IntArray | FloatArray, length: float) -> FloatArray:
    r"""Return the values on the way from *first* (at ``t = 0``) to *last* (at ``t = length``), both met exactly.

    .. math:: \text{first} \cdot f + \text{last} \cdot (1 - f), \qquad f = \text{fall}(t)

    and for ``"exponential"`` ``first · (last/first)^(t/length)``, which needs positive ends and meets *last* exactly
    where *first* is 1.

    A way that rises is the mirror image of the one that falls: it is flat where the falling one is.

    >>> between("exponential", 1.0, 1e-4, np.array([0, 1, 2, 3, 4]), 4)
    array([1.e+00, 1.e-01, 1.e-02, 1.e-03, 1.e-04])
    """
    if shape == "exponential":
        return np.asarray(first * np.power(last / first, t / length), dtype=np.float64)
    f = fall(shape, t, length)
    return first * f + last * (1.0 - f)

"""Thinning a long curve for drawing without losing its spikes or its gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.draw.arrays import curve
from thalweg.errors import check_number

__all__ = ["thin"]


def thin(values: ArrayLike, limit: int = 5000) -> NDArray[np.int64]:
    """Return the sorted positions of at most *limit* values that draw the same picture.

    The curve is cut into ``(limit - 2) // 3`` buckets of equal length; each keeps its lowest and its highest finite
    value and its first value that is not finite, so that every spike keeps its height and every gap stays a gap. The
    first and the last position are always kept. A curve of at most *limit* values is kept whole.

    Args:
        values: shape ``(n,)``; may hold NaN and infinities.
        limit: how many positions may be returned, ≥ 8.

    Returns:
        Positions into *values*, shape ``(m,)``, ``m ≤ limit``, strictly increasing.

    Raises:
        ValueError: *values* is empty or not one-dimensional, or *limit* is below 8.

    >>> values = np.zeros(1000)
    >>> values[500], values[700] = 9.0, np.nan
    >>> kept = thin(values, limit=20)
    >>> len(kept), 500 in kept, 700 in kept
    (9, True, True)
    """
    check_number("thin", "limit", limit, low=8)
    array = curve("thin", "values", values)
    if array.size <= limit:
        return np.arange(array.size)
    buckets = (int(limit) - 2) // 3
    length = -(-array.size // buckets)
    # Rounding the length up can leave the last rows empty: the table has as many rows as there are started buckets.
    rows = -(-array.size // length)
    padded = np.full(rows * length, np.nan)
    padded[: array.size] = array
    table = padded.reshape(rows, length)
    start = np.arange(rows) * length
    finite = np.isfinite(table)
    held = finite.any(axis=1)
    lowest = start + np.where(finite, table, np.inf).argmin(axis=1)
    highest = start + np.where(finite, table, -np.inf).argmax(axis=1)
    gap = start + (~finite).argmax(axis=1)
    gapped = (~finite).any(axis=1) & (gap < array.size)
    ends = np.array([0, array.size - 1])
    return np.unique(np.concatenate([ends, lowest[held], highest[held], gap[gapped]])).astype(np.int64)

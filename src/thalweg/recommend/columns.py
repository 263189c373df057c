"""Columns out of whatever table a user holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.errors import unknown_name

__all__ = ["column", "column_names", "numbers", "table_length"]

Array = np.ndarray[Any, np.dtype[Any]]


def column_names(table: Any) -> list[str]:
    """Return the columns of a pandas, Arrow or Polars table, or of a dict of arrays.

    Raises:
        TypeError: it is no table.

    >>> column_names({"user": [1], "item": [2]})
    ['user', 'item']
    """
    for attribute in ("column_names", "columns"):
        names = getattr(table, attribute, None)
        # An Arrow table has both; its `columns` are the arrays.
        if names is not None and all(isinstance(name, str) for name in names):
            return list(names)
    if isinstance(table, Mapping):
        return [str(name) for name in table]
    raise TypeError(
        f"recommend: got a {type(table).__name__}, which is no table with named columns; pass a pandas or Arrow table, "
        "a dict of arrays, a file's path, or Ratings."
    )


def column(table: Any, name: str, who: str) -> Array:
    """Return one column as a NumPy array.

    Raises:
        ValueError: there is no such column; the message names the nearest.
    """
    known = column_names(table)
    if name not in known:
        raise unknown_name(who, "column", name, known)
    values = table[name]
    if hasattr(values, "to_numpy"):
        try:
            return np.asarray(values.to_numpy())
        except (TypeError, ValueError):
            pass
    if hasattr(values, "to_pylist"):
        return np.asarray(values.to_pylist())
    return np.asarray(values)


def numbers(values: Array, name: str, who: str) -> Array:
    """Return a column as float64.

    Raises:
        TypeError: it holds no numbers.
        ValueError: a value is NaN, missing or infinite; the message names the row.
    """
    if values.dtype.kind in "Mm":  # dates and durations, to seconds
        values = values.astype("datetime64[us]" if values.dtype.kind == "M" else "timedelta64[us]").astype(np.int64)
        return values.astype(np.float64) / 1e6
    try:
        found = values.astype(np.float64)
    except (TypeError, ValueError):
        row = next((k for k, value in enumerate(values) if not _is_number(value)), 0)
        wrong = values[row].item() if hasattr(values[row], "item") else values[row]
        raise TypeError(
            f"{who}: column {name!r} holds {wrong!r} in row {row}, which is no number; a column of numbers is "
            "needed (was the right delimiter used?)."
        ) from None
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise ValueError(
            f"{who}: column {name!r} is {found[bad[0]]} in row {bad[0]} ({len(bad)} such rows in all); drop or fill "
            "them first."
        )
    return found


def table_length(table: Any) -> int:
    """Return the rows of a table."""
    names = column_names(table)
    return len(table[names[0]]) if names else 0


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True

"""Amounts of memory as users write them."""

from __future__ import annotations

import re

__all__ = ["parse_size"]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_LEAST = 1 << 20


def parse_size(who: str, name: str, value: int | str) -> int:
    """Return bytes for ``"512 MiB"``, ``"1.5 GB"`` or a number of bytes.

    Raises:
        TypeError: *value* is neither.
        ValueError: the text is no size, or it is less than 1 MiB.

    >>> parse_size("data.stream", "memory", "512 MiB")
    536870912
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{who}: {name}={value!r} must be a size, got {type(value).__name__}; write e.g. '512 MiB'.")
    size = value
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
        if found is None or found.group(2).upper() not in _UNITS:
            raise ValueError(f"{who}: {name}={value!r} is no size; write e.g. '512 MiB' or '1 GB'.")
        size = int(float(found.group(1)) * _UNITS[found.group(2).upper()])
    assert isinstance(size, int), "a text has become a number"
    if size < _LEAST:
        raise ValueError(f"{who}: {name}={value!r} is less than 1 MiB, too little for a block of rows; give more.")
    return size

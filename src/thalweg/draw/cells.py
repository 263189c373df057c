"""How a value is written in a table's cell, in text and in HTML alike."""

from __future__ import annotations

import math
import numbers
from typing import Any

__all__ = ["cell", "is_number"]


def is_number(value: Any) -> bool:
    """Return whether *value* goes into a right-aligned column: a number or nothing at all.

    >>> is_number(1.5), is_number(None), is_number(""), is_number(True), is_number("1.5")
    (True, True, True, False, False)
    """
    return value is None or value == "" or (isinstance(value, numbers.Real) and not isinstance(value, bool))


def cell(value: Any) -> str:
    """Return *value* as it is written in a table.

    Whole numbers carry thousands separators, other numbers at least four significant digits; NaN and infinities are
    spelled.

    >>> [cell(v) for v in (1234567, 0.00123456, 12345.678, 2.0, None, True, float("nan"), (3, 4), "text")]
    ['1,234,567', '0.001235', '12,346', '2', '', 'yes', 'nan', '3 × 4', 'text']
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    if isinstance(value, numbers.Real):
        number = float(value)
        if not math.isfinite(number):
            return str(number)
        return f"{number:,.0f}" if 1e4 <= abs(number) < 1e15 else f"{number:.4g}"
    if isinstance(value, (list, tuple)):
        return " × ".join(cell(part) for part in value)
    return str(value)

"""A small table that prints as text in a terminal and as HTML in a notebook; ``show_batch`` of tabular data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thalweg.draw.cells import cell, is_number
from thalweg.draw.html import html_table
from thalweg.errors import check_number

__all__ = ["Table", "batch_table"]

_WIDEST = 48


@dataclass(frozen=True)
class Table:
    """Rows under headings.

    Args:
        rows: rows of ``c`` cells each.
        columns: the headings, ``c`` of them.
        caption: a line above the table.

    Raises:
        ValueError: a row has another number of cells than there are headings.

    >>> print(Table([["head", 0.01], ["body", 0.00125]], ["name", "rate"]))
    name     rate
    ────  ───────
    head     0.01
    body  0.00125
    """

    rows: Sequence[Sequence[Any]]
    columns: Sequence[str]
    caption: str = ""

    def __post_init__(self) -> None:
        for place, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"Table: row {place} has {len(row)} cells for {len(self.columns)} columns; "
                    "give each row one per column."
                )

    def __str__(self) -> str:
        written = [[self._short(value) for value in row] for row in self.rows]
        widths = [
            max(len(str(name)), *(len(row[i]) for row in written)) if written else len(str(name))
            for i, name in enumerate(self.columns)
        ]
        right = [bool(self.rows) and all(is_number(row[i]) for row in self.rows) for i in range(len(self.columns))]

        def line(parts: Sequence[str]) -> str:
            padded = (p.rjust(w) if r else p.ljust(w) for p, w, r in zip(parts, widths, right, strict=True))
            return "  ".join(padded).rstrip()

        lines = [line([str(name) for name in self.columns]), "  ".join("─" * width for width in widths)]
        lines += [line(row) for row in written]
        return "\n".join([self.caption, *lines] if self.caption else lines)

    __repr__ = __str__

    @staticmethod
    def _short(value: Any) -> str:
        text = " ".join(cell(value).split())
        return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"

    def _repr_html_(self) -> str:
        return html_table(self.rows, self.columns, caption=self.caption)


def batch_table(columns: Mapping[str, Sequence[Any]], count: int = 8, caption: str = "") -> Table:
    """Return the first *count* rows of a tabular batch.

    Args:
        columns: name → values of shape ``(B,)``; all of one length.
        count: how many rows are shown, ≥ 1.
        caption: a line above the table.

    Raises:
        ValueError: there are no columns, or their lengths differ.

    >>> print(batch_table({"age": [31, 54], "income": [41000.0, 52500.0], "target": ["no", "yes"]}))
    age  income  target
    ───  ──────  ──────
     31  41,000  no
     54  52,500  yes
    """
    check_number("batch_table", "count", count, low=1)
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        got = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
        raise ValueError(f"batch_table: columns must have one common length, got {got}; pass columns of one batch.")
    (length,) = set(lengths.values())
    shown = [[_plain(values[row]) for values in columns.values()] for row in range(min(count, length))]
    return Table(shown, list(columns), caption)


def _plain(value: Any) -> Any:
    """Return the Python number inside a NumPy or torch scalar; only the few rows shown come here."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value

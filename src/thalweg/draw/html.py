"""HTML made of escaped text: the tables of a notebook's plan, history and summary, and of the report."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from thalweg.draw.cells import cell, is_number

__all__ = ["escape", "html_table"]

#: Works on a light and on a dark notebook: it takes the surrounding text colour and translucent greys.
_STYLE = (
    "<style>"
    ".thalweg-table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    ".thalweg-table caption{caption-side:top;text-align:left;font-weight:600;padding:0 0 .4em;white-space:nowrap}"
    ".thalweg-table th,.thalweg-table td{text-align:left;padding:.25em .9em .25em 0;"
    "border-bottom:1px solid rgba(128,128,128,.25);vertical-align:top}"
    ".thalweg-table thead th{border-bottom-color:rgba(128,128,128,.6);font-weight:600}"
    ".thalweg-table .number{text-align:right}"
    "</style>"
)


def escape(text: object) -> str:
    """Return *text* for use between tags and inside quoted attributes.

    >>> escape('<img onerror="x">')
    '&lt;img onerror=&quot;x&quot;&gt;'
    """
    return html.escape(str(text), quote=True)


def html_table(rows: Iterable[Sequence[Any]], columns: Sequence[str], *, caption: str = "", style: bool = True) -> str:
    """Return an HTML table whose every cell is escaped.

    Columns of numbers are right-aligned, with four significant digits; ``None`` and ``""`` are empty cells.

    Args:
        rows: rows of ``c`` cells each.
        columns: the headings, ``c`` of them.
        caption: a line above the table.
        style: whether the few lines of CSS that a notebook needs come along.

    Raises:
        ValueError: a row has another number of cells than there are headings.

    >>> html_table([[1, 0.51234]], ["epoch", "loss"], style=False)  # doctest: +NORMALIZE_WHITESPACE
    '<table class="thalweg-table"><thead><tr><th scope="col" class="number">epoch</th><th scope="col"
    class="number">loss</th></tr></thead><tbody><tr><td class="number">1</td><td
    class="number">0.5123</td></tr></tbody></table>'
    """
    held = [list(row) for row in rows]
    for place, row in enumerate(held):
        if len(row) != len(columns):
            raise ValueError(
                f"html_table: row {place} has {len(row)} cells for {len(columns)} columns; "
                "give each row one per column."
            )
    numeric = [bool(held) and all(is_number(row[i]) for row in held) for i in range(len(columns))]
    mark = [' class="number"' if right else "" for right in numeric]
    head = "".join(f'<th scope="col"{mark[i]}>{escape(name)}</th>' for i, name in enumerate(columns))
    body = "".join(
        "<tr>" + "".join(f"<td{mark[i]}>{escape(cell(value))}</td>" for i, value in enumerate(row)) + "</tr>"
        for row in held
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'{_STYLE if style else ""}<table class="thalweg-table">{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )

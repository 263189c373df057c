"""A table as a figure of a report."""

from __future__ import annotations

from typing import Any

from .cells import cell, is_number
from .table import Table

__all__ = ["table_figure"]

_ROW, _AROUND = 24, 64  # pixels


def table_figure(table: Table, title: str, summary: str = "") -> dict[str, Any]:
    """Return *table* as plotly's JSON, as tall as its rows, its columns as wide as what stands in them.

    Args:
        table: its caption is not shown.
        title: of the figure.
        summary: a sentence under the title.

    >>> figure = table_figure(Table([["adamw", 0.1095]], ["rule", "loss"]), "Race")
    >>> figure["data"][0]["cells"]["values"], figure["layout"]["height"]
    ([['adamw'], ['0.1095']], 112)
    """
    columns = [[row[place] for row in table.rows] for place in range(len(table.columns))]
    written = [[cell(value) for value in column] for column in columns]
    align = ["right" if column and all(map(is_number, column)) else "left" for column in columns]
    widths = [max(map(len, [head, *texts])) + 2 for head, texts in zip(table.columns, written, strict=True)]
    trace = {
        "type": "table",
        "columnwidth": widths,
        "header": {"values": list(table.columns), "align": align, "height": _ROW},
        "cells": {"values": written, "align": align, "height": _ROW},
    }
    layout = {
        "title": {"text": title},
        "height": _ROW * (len(table.rows) + 1) + _AROUND,
        "meta": {"summary": summary},
    }
    return {"data": [trace], "layout": layout}

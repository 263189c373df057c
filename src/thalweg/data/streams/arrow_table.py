"""Parquet, IPC and CSV files, and their columns by name, as one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arrow_part import ArrowPart, need_pyarrow
from .columns import Chosen, choose
from .conditions import conditions
from .csv import CsvPart, csv_schema
from .files import WHO, File
from .ipc import IpcPart, ipc_schema
from .parquet import ParquetPart, parquet_schema
from .rows import Layout
from .table import RowTable

__all__ = ["arrow_table"]

_SCHEMAS: dict[str, Callable[[File], Any]] = {"parquet": parquet_schema, "ipc": ipc_schema, "csv": csv_schema}


def arrow_table(
    files: Sequence[File],
    kind: str,
    target: Any,
    columns: Any,
    weight: Any,
    filter: Any,
    dtype: np.dtype[Any],
) -> RowTable:
    """Return the table of files whose columns have names; `thalweg.data.stream` says what the arguments mean.

    Raises:
        ValueError: a file is damaged, a column is unknown or misses in a file, or no rows are left.
        TypeError: a column holds no numbers.
    """
    need_pyarrow(files[0].path)
    first = _SCHEMAS[kind](files[0])
    chosen = choose(first, files[0].path, target, columns, weight)
    condition = None if filter is None else conditions(filter, first.names, files[0].path)
    parts: list[ArrowPart] = []
    layout = chosen.layout(first, dtype)
    for file in files:
        schema = first if file is files[0] else _SCHEMAS[kind](file)
        _check_same(chosen, schema, file, files[0], target, columns, weight)
        layout = _wider(layout, chosen.layout(schema, dtype))
        if kind == "parquet":
            parts.append(ParquetPart(file, chosen, condition))
        elif kind == "ipc":
            parts.append(IpcPart(file, chosen, condition))
        else:
            parts.append(CsvPart(file, chosen, condition, schema))
    whole = [part for part in parts if part.n]
    if not whole:
        raise ValueError(
            f"{WHO}: {files[0].path}{f' and {len(files) - 1} more' if len(files) > 1 else ''} "
            f"{'have' if len(files) > 1 else 'has'} no rows{'' if filter is None else f' with filter={filter!r}'}."
        )
    return RowTable(whole, layout, f"{chosen} {condition}")


def _wider(layout: Layout, other: Layout) -> Layout:
    """Return the one of two layouts that holds the targets of both."""
    return other if layout.target_dtype.kind in "iu" else layout


def _check_same(chosen: Chosen, schema: Any, file: File, first: File, target: Any, columns: Any, weight: Any) -> None:
    missing = [name for name in chosen.names if name not in schema.names]
    if missing:
        raise ValueError(
            f"{WHO}: {file.path} has no column {', '.join(map(repr, missing))}, which {first.path} has; every file of "
            "a stream needs the same columns: choose those that all have with columns=[…], or leave the file out."
        )
    choose(schema, file.path, target, list(chosen.features), weight)

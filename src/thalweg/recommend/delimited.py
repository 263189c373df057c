"""Files of delimited text as columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_delimited"]

_SHOWN = {"\t": "tabs", ",": "commas", "|": "bars", ";": "semicolons", "::": "double colons"}


def read_delimited(
    path: Path, delimiter: str, *, who: str, names: Sequence[str] = (), encoding: str = "utf-8"
) -> dict[str, np.ndarray[Any, Any]]:
    """Return column name → values: int64, float64 or text.

    Args:
        path: the file, plain or gzipped.
        delimiter: between columns.
        who: for messages.
        names: of the columns of a file without a line of names.
        encoding: of the file.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: another delimiter or encoding, rows of different length, or an empty file.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv
    except ImportError:
        raise ImportError(f"{who}: reading {path} needs pyarrow; install it with thalweg[data].") from None
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(column_names=list(names) or None, encoding=encoding),
            parse_options=csv.ParseOptions(delimiter=delimiter, quote_char=False if names else '"'),
            convert_options=csv.ConvertOptions(strings_can_be_null=False),
        )
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise ValueError(_explained(path, delimiter, who, encoding, str(error))) from None
    if not table.num_rows:
        raise ValueError(f"{who}: {path} holds no rows; give it ratings.")
    found = {}
    for name in table.column_names:
        one = table.column(name)
        if pa.types.is_binary(one.type):  # what Arrow makes of text that is no UTF-8
            raise ValueError(f"{who}: {path} is not written in {encoding} (column {name!r}); save it as UTF-8.")
        found[name] = one.to_numpy() if not pa.types.is_string(one.type) else np.asarray(one.to_pylist(), dtype=str)
    return found


def _explained(path: Path, delimiter: str, who: str, encoding: str, reason: str) -> str:
    """Return the message for a file that cannot be read: its delimiter or its encoding, where that is why."""
    reason = reason.strip().splitlines()[0].rstrip(".") if reason.strip() else "it cannot be read"
    if "UTF8" in reason.replace("-", "").upper() or "decode" in reason:
        return f"{who}: {path} is not written in {encoding} ({reason}); save it as UTF-8."
    line = _first_line(path)
    other = next((mark for mark in ("::", "\t", ";", "|", ",") if mark != delimiter and mark in line), None)
    if other is not None and delimiter not in line:
        return (
            f"{who}: {path} was read with {_SHOWN[delimiter]} between columns, but its first line, {line[:60]!r}, has "
            f"{_SHOWN[other]}; write it with {_SHOWN[delimiter]}, or rename it (.csv: commas, .tsv: tabs)."
        )
    return f"{who}: {path} cannot be read as columns between {_SHOWN[delimiter]}: {reason}; check the row it names."


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.readline(400).decode("latin-1").strip()
    except OSError:
        return ""

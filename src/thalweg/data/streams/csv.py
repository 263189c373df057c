"""CSV files: where rows begin is found once, so that pieces of the text can be parsed in any order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrow_part import ArrowPart, damaged
from .columns import Chosen
from .files import WHO, File

__all__ = ["CsvPart", "csv_schema"]

_PIECE = 1 << 20  # bytes of text in a unit, about
_READ = 1 << 24
_QUOTE, _NEWLINE = ord('"'), ord("\n")


def _separator(file: File) -> str:
    return "\t" if file.path.lower().endswith(".tsv") else ","


@dataclass
class _Index:
    """Where pieces of a file begin, and how many lines each has.

    Attributes:
        cuts: the byte at which each piece begins, and where the last one ends.
        lines: lines per piece.
        has_blank: whether a line may be blank, which Arrow leaves out.
    """

    cuts: list[int]
    lines: list[int]
    has_blank: bool


def _ends(file: File) -> Iterator[NDArray[np.int64]]:
    """Yield one past the end of lines, some thousands at a time; a newline between quotes ends no line.

    A quote inside quotes is doubled (RFC 4180), so that the parity of the quotes so far says whether one is inside.
    """
    quotes, offset, last = 0, 0, _NEWLINE
    with file.open() as opened:
        while True:
            text = np.frombuffer(opened.read(_READ), np.uint8)
            if not text.size:
                break
            newlines = np.flatnonzero(text == _NEWLINE)
            marks = np.flatnonzero(text == _QUOTE)
            if marks.size or quotes % 2:
                newlines = newlines[(quotes + np.searchsorted(marks, newlines)) % 2 == 0]
            if newlines.size:
                yield newlines + (offset + 1)
            quotes, offset, last = quotes + len(marks), offset + len(text), int(text[-1])
    if quotes % 2:
        raise _unclosed(file, quotes)
    if last != _NEWLINE:
        yield np.array([offset], np.int64)


def _index(file: File) -> _Index:
    """Return where the pieces of a file begin, in one pass over its bytes.

    Raises:
        ValueError: the file has no rows, or ends inside quotes.
    """
    found = _Index([], [], False)
    waiting, before = 0, 0
    for ends in _ends(file):
        if (np.diff(ends, prepend=before) <= 2).any():  # at most a character and a newline: looked at when it is parsed
            found.has_blank = True
        before = int(ends[-1])
        if not found.cuts:
            found.cuts.append(int(ends[0]))  # the names
            ends = ends[1:]
        while len(ends):
            place = int(np.searchsorted(ends, found.cuts[-1] + _PIECE))
            if place == len(ends):
                waiting += place
                break
            found.cuts.append(int(ends[place]))
            found.lines.append(waiting + place + 1)
            ends, waiting = ends[place + 1 :], 0
    if waiting:
        found.cuts.append(before)
        found.lines.append(waiting)
    if not found.lines:
        raise _empty(file)
    return found


def _unclosed(file: File, quotes: int) -> ValueError:
    return ValueError(
        f"{WHO}: {file.path} ends inside quotes ({quotes} quotation marks in all), so that a closing one is missing "
        "somewhere; check how it was written."
    )


def _empty(file: File) -> ValueError:
    return ValueError(f"{WHO}: {file.path} ({file.size} bytes) has no rows below its line of names; leave it out.")


def csv_schema(file: File) -> Any:
    """Return the names of the first line, and the types of the first megabyte of rows, as an Arrow schema.

    Raises:
        ValueError: the file is empty, the first piece cannot be parsed, or a name stands twice.
    """
    text = _text(file, 0, min(_PIECE, file.size))
    if len(text) < file.size:
        array = np.frombuffer(text, np.uint8)
        newlines = np.flatnonzero(array == _NEWLINE)
        inside = np.searchsorted(np.flatnonzero(array == _QUOTE), newlines) % 2
        newlines = newlines[inside == 0]
        text = text[: int(newlines[-1]) + 1] if newlines.size else text
    elif text.count(b'"') % 2:
        raise _unclosed(file, text.count(b'"'))
    table = _parse(file, text, None, None, 0) if text.strip() else None
    if table is None or not table.num_rows:
        raise _empty(file)
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{WHO}: {file.path} has several columns named {', '.join(map(repr, twice[:3]))}; give each its own name."
        )
    return table.schema


def _text(file: File, start: int, stop: int) -> bytes:
    with file.open() as opened:
        opened.seek(start)
        parts = []
        while start < stop:
            some = opened.read(stop - start)
            if not some:
                break
            parts.append(some)
            start += len(some)
    return b"".join(parts)


def _parse(file: File, text: bytes, names: list[str] | None, types: Any, first: int) -> Any:
    """Return *text* as an Arrow table; *names* None reads them from its first line. *first* numbers its first row."""
    import pyarrow as pa
    import pyarrow.csv as csv

    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            read_options=csv.ReadOptions(column_names=names, use_threads=False, block_size=max(len(text), 1)),
            parse_options=csv.ParseOptions(
                delimiter=_separator(file), newlines_in_values=True, invalid_row_handler=refuse
            ),
            convert_options=csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
        assert table.column_names is not None, "decoded here, where names that are no UTF-8 are told"
        return table
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if ragged:
            row = ragged[0]
            inside = (row.number or 1) - 1 - (names is None)  # Arrow counts lines from 1, that of the names included
            raise ValueError(
                f"{WHO}: row {first + inside} of {file.path} has {row.actual_columns} values, but there are "
                f"{row.expected_columns} columns: {row.text[:80]!r}; check its separators and quotes."
            ) from None
        raise _unreadable(file, first, names is None, error) from None


def _unreadable(file: File, first: int, has_names: bool, error: Exception) -> ValueError:
    """Return the error for a value that is not of its column's type, with the row counted through the file."""
    said = str(error)
    found = re.search(r"In CSV column #(\d+): (?:Row #(\d+): )?(.*)", said, flags=re.DOTALL)
    if found is None:
        return damaged(file, f", after row {first}", error)
    row = "" if found.group(2) is None else f"row {first + int(found.group(2)) - 1 - has_names} of "
    return ValueError(
        f"{WHO}: {row}{file.path}: column number {found.group(1)}: {found.group(3).strip()}; the types are those of "
        "the first megabyte: correct the value, or leave the column out with columns=[…]."
    )


class CsvPart(ArrowPart):
    """One CSV file with a line of names, in pieces of about a megabyte."""

    unit_name = "piece"

    def __init__(self, file: File, chosen: Chosen, condition: Any, schema: Any) -> None:
        super().__init__(file, chosen, condition)
        self.names = list(schema.names)
        self.types = {
            field.name: field.type if field.name in chosen.targets else _numeric(field.type) for field in schema
        }
        index = _index(file)
        self.cuts = index.cuts
        self._lines = np.cumsum([0, *index.lines]).tolist()
        exact = not index.has_blank and condition is None
        self.count(index.lines if exact else self.sizes_by_reading(len(index.lines)))

    def batches(self, unit: int, opened: Any) -> Iterator[Any]:
        text = _text(self.file, self.cuts[unit], self.cuts[unit + 1])
        first = int(self.bounds[unit]) if self.condition is None else self._lines[unit]
        table = _parse(self.file, text, self.names, self.types, first)
        if self.condition is not None:
            table = table.filter(self.condition)
        yield from table.select(self.chosen.names).combine_chunks().to_batches()


def _numeric(kind: Any) -> Any:
    """Return the type that a column is parsed with: integers as floats, which later fractions do not contradict."""
    import pyarrow as pa

    return pa.float64() if pa.types.is_integer(kind) or pa.types.is_null(kind) else kind

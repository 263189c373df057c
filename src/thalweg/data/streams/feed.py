"""Rows in the order of an epoch, from files into fresh buffers; what runs on the reading thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .order import EpochOrder, Window
from .read_ahead import read_ahead
from .rows import Rows, cut, take
from .table import RowTable, TableReader

__all__ = ["Span", "check_rows", "feed"]

Integers = NDArray[np.int64]

_WINDOWS_ALIVE = 2  # one is read while rows are taken from the other


@dataclass(frozen=True)
class Span:
    """Positions *start* … *stop* − 1 of an epoch; *picked* are the offsets of those that count, None for all."""

    start: int
    stop: int
    picked: Integers | None = None


def feed(table: RowTable, order: EpochOrder, spans: Iterable[Span]) -> Iterator[Rows]:
    """Yield the rows of every span, in buffers that are not used again.

    Raises:
        ValueError: a value is NaN or infinite, with file, row and column; a file is damaged or has changed.
    """
    straight = order.order.shuffle is False
    with table.reader() as reader:
        if table.is_mapped or order.order.shuffle == "full" or straight:
            fill = _Straight(reader, order) if straight else _Gathered(reader, order)
            for span in spans:
                yield _checked(table, order, span, fill(span))
        else:
            windows = _Windows(table, reader, order)
            try:
                for span in spans:
                    yield _checked(table, order, span, windows(span))
            finally:
                windows.close()


def _checked(table: RowTable, order: EpochOrder, span: Span, rows: Rows) -> Rows:
    def row_of(place: int) -> int:
        return int(order.rows(span.start, span.stop)[place if span.picked is None else span.picked[place]])

    check_rows(table, rows, row_of)
    return rows


class _Straight:
    """Spans in the order of the files."""

    def __init__(self, reader: TableReader, order: EpochOrder) -> None:
        self.reader, self.order = reader, order

    def __call__(self, span: Span) -> Rows:
        layout, count = self.reader.table.layout, span.stop - span.start
        if span.picked is None:
            out = layout.empty(count)
            self.reader.read(span.start, span.stop, out)
            return out
        out = layout.empty(len(span.picked))
        if self.reader.table.is_mapped:
            self.reader.gather(span.picked + span.start, out)
        else:
            whole = layout.empty(count)
            self.reader.read(span.start, span.stop, whole)
            take(whole, span.picked, out)
        return out


class _Gathered:
    """Spans of single rows out of mapped files."""

    def __init__(self, reader: TableReader, order: EpochOrder) -> None:
        self.reader, self.order = reader, order

    def __call__(self, span: Span) -> Rows:
        rows = self.order.rows(span.start, span.stop)
        rows = rows if span.picked is None else rows[span.picked]
        out = self.reader.table.layout.empty(len(rows))
        self.reader.gather(rows, out)
        return out


class _Windows:
    """Spans out of windows that are read into two buffers in turn, on a thread of their own."""

    def __init__(self, table: RowTable, reader: TableReader, order: EpochOrder) -> None:
        self.table, self.reader, self.order = table, reader, order
        largest = int(np.diff(order.starts).max())
        self._buffers = [table.layout.empty(largest) for _ in range(_WINDOWS_ALIVE)]
        self._stream: Iterator[tuple[Window, Rows]] | None = None
        self._now: tuple[Window, Rows] | None = None

    def _read(self, first: int) -> Iterator[tuple[Window, Rows]]:
        for turn, number in enumerate(range(first, len(self.order.starts) - 1)):
            window, buffer = self.order.window(number), self._buffers[turn % _WINDOWS_ALIVE]
            done = 0
            for start, stop in window.blocks:
                self.reader.read(start, stop, cut(buffer, done, done + stop - start))
                done += stop - start
            yield window, buffer

    def _at(self, position: int) -> tuple[Window, Rows]:
        """Return the window that holds *position*; positions only grow."""
        if self._stream is None:
            first = self.order.window_of(position)
            self._stream = read_ahead(lambda: self._read(first), _WINDOWS_ALIVE)
        while self._now is None or self._now[0].stop <= position:
            self._now = None
            self._now = next(self._stream)
        return self._now

    def __call__(self, span: Span) -> Rows:
        layout = self.table.layout
        out = layout.empty(span.stop - span.start if span.picked is None else len(span.picked))
        position, done = span.start, 0
        while position < span.stop:
            window, buffer = self._at(position)
            stop = min(span.stop, window.stop)
            offsets = np.arange(position, stop) if span.picked is None else _within(span, position, stop)
            index = offsets - window.start
            index = index if window.index is None else window.index[index]
            take(buffer, index, cut(out, done, done + len(index)))
            position, done = stop, done + len(index)
        return out

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()  # type: ignore[attr-defined]  # it is a generator


def _within(span: Span, start: int, stop: int) -> Integers:
    """Return the picked positions of *span* between *start* and *stop*."""
    assert span.picked is not None, "only asked where positions are picked"
    first, past = np.searchsorted(span.picked, [start - span.start, stop - span.start])
    return span.picked[first:past] + span.start


def _is_finite(rows: Rows) -> bool:
    """Return whether all values are finite; one pass: a sum is finite only if its terms are."""
    for values in rows:
        # Huge values may overflow the sum, so that False only means that they must be looked at one by one.
        if values is not None and values.dtype.kind == "f" and values.size:
            total = torch.from_numpy(values).sum()
            if not bool(torch.isfinite(total)):
                return False
    return True


def check_rows(table: RowTable, rows: Rows, row_of: Callable[[int], int]) -> None:
    """Raise if a value of *rows* is NaN or infinite, or a weight negative.

    Args:
        table: where the rows came from.
        rows: the values.
        row_of: place among them → row of the table.

    Raises:
        ValueError: with value, column, row and file.
    """
    if _is_finite(rows) and (rows.w is None or not (rows.w < 0).any()):
        return
    names: dict[str, Any] = {"x": table.layout.features, "y": "the target", "w": "the weight"}
    for part, values in rows._asdict().items():
        if values is None or values.dtype.kind != "f":
            continue
        bad = ~np.isfinite(values)
        if not bad.any():
            continue
        place = [int(index) for index in np.argwhere(bad)[0]]
        column = f"column {names['x'][place[1]]!r}" if part == "x" else names[part]
        raise ValueError(
            f"data.stream: {table.place(row_of(place[0]))}: {column} is {values[tuple(place)]}, and one such value "
            "turns every parameter into NaN; fill it, drop its row, or leave the row out with filter=… (values beyond "
            "3.4e38 become inf as float32; dtype=torch.float64 holds them)."
        )
    if rows.w is not None and (rows.w < 0).any():
        place = [int(np.flatnonzero(rows.w < 0)[0])]
        raise ValueError(
            f"data.stream: {table.place(row_of(place[0]))}: the weight is {rows.w[place[0]]:g}, but a weight says how "
            "often a row counts; give weights >= 0."
        )

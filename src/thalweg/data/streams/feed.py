"""Rows in the order of an epoch, from files into fresh buffers; what runs on the reading thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ahead import SLOW, Ahead
from .buffers import Buffers
from .kernels import KERNELS
from .order import EpochOrder, Window
from .read_ahead import read_ahead
from .rows import Rows, cut, is_finite, take
from .table import RowTable, TableReader, Tile

__all__ = ["Lent", "Span", "check_rows", "feed", "lend"]

Integers = NDArray[np.int64]
Lent = tuple[Rows, Integers | range]
"""Rows where they lie, and which of them are meant, in their order."""

_TOGETHER_BYTES = 3 << 19  # of rows that are read in one go and used at once: they stay in a core's cache
_WINDOWS_ALIVE = 2  # one is read while rows are taken from the other


@dataclass(frozen=True)
class Span:
    """Positions *start* … *stop* − 1 of an epoch; *picked* are the offsets of those that count, None for all."""

    start: int
    stop: int
    picked: Integers | None = None


def feed(
    table: RowTable, order: EpochOrder, spans: Sequence[Span], buffers: Buffers, slots: int, *, check: bool = True
) -> Iterator[Rows]:
    """Yield the rows of every span, in buffers that are used again when nobody holds rows of them any more.

    Mapped files: rows are copied from the system's page cache when they are asked for, into a core's cache, where they
    are used next; the system is told what comes next and reads it ahead. A thread would contend for Python's lock with
    the one that trains, and cost more than the copy. Others: a thread reads, decodes and copies up to *slots* spans
    ahead.

    Raises:
        ValueError: a value is NaN or infinite, with file, row and column; a file is damaged or has changed.
    """

    def make() -> Iterator[Rows]:
        with table.reader() as reader:
            yield from _made(reader, order, spans, buffers, check)

    return make() if table.is_mapped else read_ahead(make, slots)


def lend(table: RowTable, order: EpochOrder, spans: Sequence[Span], buffers: Buffers, slots: int) -> Iterator[Lent]:
    """Yield where the rows of every span lie, which is valid until the next one is asked for; nobody has checked them.

    Where blocks are shuffled, rows stay where their window was read to.
    """
    if order.order.shuffle == "block":
        with table.reader() as reader:
            windows = _LentWindows(reader, order, buffers)
            try:
                for span in spans:
                    yield windows.lend(span)
            finally:
                windows.close()
    elif table.is_mapped and order.order.shuffle is False and all(span.picked is None for span in spans):
        with table.reader() as reader:
            yield from _straight_together(reader, spans)
    else:
        for rows in feed(table, order, spans, buffers, slots, check=False):
            yield rows, range(len(rows.x))


def _straight_together(reader: TableReader, spans: Sequence[Span]) -> Iterator[Lent]:
    """Yield spans of rows as they lie, several read in one go to the same place."""
    together = max(1, _TOGETHER_BYTES // (reader.table.layout.row_bytes * max(1, spans[0].stop - spans[0].start)))
    most = max(span.stop - span.start for span in spans)
    room, n = reader.table.layout.empty(together * most), reader.table.n
    for first in range(0, len(spans), together):
        some = spans[first : first + together]
        start, stop = some[0].start, some[-1].stop
        if stop < n:
            reader.will_need([(stop, min(stop + 2 * (stop - start), n))])
        reader.read(start, stop, cut(room, 0, stop - start))
        for span in some:
            yield room, range(span.start - start, span.stop - start)


def _made(
    reader: TableReader, order: EpochOrder, spans: Sequence[Span], buffers: Buffers, check: bool
) -> Iterator[Rows]:
    kind = order.order.shuffle
    lying = _lying(reader) if kind else None
    if lying is not None:
        fill: Any = _Picked(reader, order, buffers, lying)
    else:
        fill = (_Windows if kind == "block" else _Gathered if kind == "full" else _Straight)(reader, order, buffers)
    try:
        for span in spans:
            rows = fill(span)
            yield rows if fill.is_known_finite or not check else _checked(reader.table, order, span, rows)
    finally:
        fill.close()


def _lying(reader: TableReader) -> Rows | None:
    """Return all rows as views, where there is a kernel that takes them from there."""
    if KERNELS.take_rows is None or not reader.table.is_mapped or len(reader.table.layout.shape) != 1:
        return None
    one = reader.table.layout.empty(1)
    rows = reader.views_of_all(one)
    if rows is None or rows.w is not None:
        return None
    done = KERNELS.take_rows(rows.x, rows.y, np.zeros(1, np.int64), one.x, one.y)
    return None if done is None else rows


def _checked(table: RowTable, order: EpochOrder, span: Span, rows: Rows) -> Rows:
    def row_of(place: int) -> int:
        return int(order.rows(span.start, span.stop)[place if span.picked is None else span.picked[place]])

    check_rows(table, rows, row_of)
    return rows


class _Straight:
    """Spans in the order of the files."""

    def __init__(self, reader: TableReader, order: EpochOrder, buffers: Buffers) -> None:
        self.reader, self.order, self.empty = reader, order, buffers.empty
        self.is_known_finite = False

    def __call__(self, span: Span) -> Rows:
        count = span.stop - span.start
        if self.reader.table.is_mapped and span.stop < self.order.order.n:
            self.reader.will_need([(span.stop, min(span.stop + 4 * count, self.order.order.n))])
        if span.picked is None:
            out = self.empty(count)
            self.is_known_finite = self.reader.read(span.start, span.stop, out)
            return out
        out = self.empty(len(span.picked))
        if self.reader.table.is_mapped:
            self.is_known_finite = self.reader.gather(span.picked + span.start, out)
        else:
            whole = self.reader.table.layout.empty(count)
            self.is_known_finite = self.reader.read(span.start, span.stop, whole)
            take(whole, span.picked, out)
        return out

    def close(self) -> None:
        """Nothing is held."""


class _Gathered:
    """Spans of single rows."""

    def __init__(self, reader: TableReader, order: EpochOrder, buffers: Buffers) -> None:
        self.reader, self.order, self.empty = reader, order, buffers.empty
        self.is_known_finite = False

    def __call__(self, span: Span) -> Rows:
        rows = self.order.rows(span.start, span.stop)
        rows = rows if span.picked is None else rows[span.picked]
        out = self.empty(len(rows))
        self.is_known_finite = self.reader.gather(rows, out)
        return out

    def close(self) -> None:
        """Nothing is held."""


class _Picked:
    """Spans of single rows out of one mapped file, by a kernel that copies, parts and checks them in one go."""

    def __init__(self, reader: TableReader, order: EpochOrder, buffers: Buffers, lying: Rows) -> None:
        self.reader, self.order, self.empty, self._lying = reader, order, buffers.empty, lying
        self._ahead = Ahead(order, reader, reader.table.layout.row_bytes)
        self.is_known_finite = False

    def __call__(self, span: Span) -> Rows:
        began = time.perf_counter()
        rows = self.order.rows(span.start, span.stop)
        rows = rows if span.picked is None else rows[span.picked]
        out = self.empty(len(rows))
        assert KERNELS.take_rows is not None, "it has taken one row"
        self.is_known_finite = bool(KERNELS.take_rows(self._lying.x, self._lying.y, rows, out.x, out.y))
        self._ahead.took(time.perf_counter() - began, span.start, span.stop)
        return out

    def close(self) -> None:
        """Nothing is held."""


class _Windows:
    """Spans out of windows of blocks.

    Where the files are mapped, a window fits into a core's cache and is read on this thread: rows are then taken out of
    the cache, at a third of the time that random reads of the mapped pages would need. Elsewhere one window is read on
    a thread of its own while rows are taken from the other.
    """

    def __init__(self, reader: TableReader, order: EpochOrder, buffers: Buffers) -> None:
        self.reader, self.order, self.empty, self.most = reader, order, buffers.empty, buffers.rows
        largest = int(np.diff(order.starts).max())
        self._near = reader.table.is_mapped
        self._tiles = self._made(largest)
        self._stream: Iterator[tuple[Window, Tile]] | None = None
        self._now: tuple[Window, Tile] | None = None
        self.is_known_finite = False

    def _made(self, largest: int) -> list[Tile]:
        return [self.reader.tile(largest) for _ in range(1 if self._near else _WINDOWS_ALIVE)]

    def _read(self, first: int) -> Iterator[tuple[Window, Tile]]:
        slow, size = self._near, self.reader.table.layout.row_bytes
        for turn, number in enumerate(range(first, len(self.order.starts) - 1)):
            window, tile = self.order.window(number), self._tiles[turn % len(self._tiles)]
            if slow and number + 2 < len(self.order.starts):
                self.reader.will_need(self.order.blocks(number + 1))
            began = time.perf_counter()
            tile.load(window.blocks)
            # A hint per block costs as much as copying it, so that hints are given only where the disk is read.
            slow = self._near and time.perf_counter() - began > SLOW * size * (window.stop - window.start)
            yield window, tile

    def _at(self, position: int) -> tuple[Window, Tile]:
        """Return the window that holds *position*; positions only grow."""
        if self._stream is None:
            first = self.order.window_of(position)
            self._stream = self._read(first) if self._near else read_ahead(lambda: self._read(first), _WINDOWS_ALIVE)
        while self._now is None or self._now[0].stop <= position:
            self._now = None
            self._now = next(self._stream)
        return self._now

    def __call__(self, span: Span) -> Rows:
        out = self.empty(span.stop - span.start if span.picked is None else len(span.picked))
        position, done = span.start, 0
        self.is_known_finite = True
        while position < span.stop:
            window, tile = self._at(position)
            self.is_known_finite = self.is_known_finite and tile.is_finite
            stop = min(span.stop, window.stop)
            index = _index(window, span, position, stop)
            tile.take(index, cut(out, done, done + len(index)))
            position, done = stop, done + len(index)
        return out

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()  # type: ignore[attr-defined]  # it is a generator


class _LentWindows(_Windows):
    """Windows whose rows stay where they were read to, side by side in one room."""

    def _made(self, largest: int) -> list[Tile]:
        count = _WINDOWS_ALIVE
        if self._near:  # they are small: there is room for all that a batch may reach into
            count += -(-self.most // int(np.diff(self.order.starts)[:-1].min(initial=largest)))
        self._room = self.reader.table.layout.empty(count * largest)
        tiles = [Tile(self.reader, cut(self._room, k * largest, (k + 1) * largest)) for k in range(count)]
        self._offsets = {tile: k * largest for k, tile in enumerate(tiles)}
        return tiles

    def lend(self, span: Span) -> Lent:
        """Return where the rows of *span* lie; those of two large windows are copied, because only two are held."""
        position, found = span.start, []
        while position < span.stop:
            window, tile = self._at(position)
            stop = min(span.stop, window.stop)
            if stop < span.stop and not self._near:
                rows = self(span)
                return rows, range(len(rows.x))
            found.append(_index(window, span, position, stop) + self._offsets[tile])
            position = stop
        return self._room, found[0] if len(found) == 1 else np.concatenate(found or [np.empty(0, np.int64)])


def _index(window: Window, span: Span, start: int, stop: int) -> Integers:
    """Return the places within *window* of the rows of *span* at the positions *start* … *stop* − 1."""
    assert window.index is not None, "blocks are in windows only where their rows are permuted"
    if span.picked is None:
        return window.index[start - window.start : stop - window.start]
    return window.index[_within(span, start, stop) - window.start]


def _within(span: Span, start: int, stop: int) -> Integers:
    """Return the picked positions of *span* between *start* and *stop*."""
    assert span.picked is not None, "only asked where positions are picked"
    first, past = np.searchsorted(span.picked, [start - span.start, stop - span.start])
    return span.picked[first:past] + span.start


def _is_finite(rows: Rows) -> bool:
    """Return whether all values are finite and no weight is negative: NaN and infinities show in the extremes."""
    return all(values is None or is_finite(values) for values in rows) and (rows.w is None or rows.w.min() >= 0)


def check_rows(table: RowTable, rows: Rows, row_of: Callable[[int], int]) -> None:
    """Raise if a value of *rows* is NaN or infinite, or a weight negative.

    Args:
        table: where the rows came from.
        rows: the values.
        row_of: place among them → row of the table.

    Raises:
        ValueError: with value, column, row and file.
    """
    if _is_finite(rows):
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

"""Files one after another as one table of numbered rows."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rows import Layout, Rows, cut, take

__all__ = ["Part", "PartReader", "RowTable", "TableReader", "Tile"]

Integers = NDArray[np.int64]


class Part(ABC):
    """One file: its rows, where reading can begin, and what it is known by. Holds no open file; can be pickled.

    Attributes:
        name: what messages call it.
        n: its rows.
        units: the bounds of what must be decoded as a whole (row groups, record batches), from 0 to n; None where
            any row can be reached at once.
        is_seekable: whether single rows can be gathered.
        is_mapped: whether the values lie in mapped memory, so that reading is copying and needs no thread.
        block_bytes: from which size on a block is read at full speed.
        identity: what must be the same when a run is resumed.
    """

    name: str
    n: int
    units: Integers | None
    is_seekable: bool
    is_mapped: bool
    block_bytes: int
    identity: str

    @abstractmethod
    def open(self) -> PartReader:
        """Return a reader with a position of its own; one per thread."""


class PartReader(ABC):
    """An open file."""

    @abstractmethod
    def read(self, start: int, stop: int, into: Rows) -> bool:
        """Fill *into* with the rows *start* … *stop* − 1 of the file.

        Return whether all values are known to be finite and no weight to be negative; so do the other methods.
        """

    def read_blocks(self, blocks: Sequence[tuple[int, int]], into: Rows) -> bool:
        """Fill *into* with the rows of *blocks*, (first, past the last) each, one after another."""
        done, finite = 0, True
        for start, stop in blocks:
            finite = self.read(start, stop, cut(into, done, done + stop - start)) and finite
            done += stop - start
        return finite

    def views(self, start: int, stop: int, like: Rows) -> Rows | None:
        """Return the rows where they lie, if that is in the types of *like*; else None."""
        return None

    def will_need(self, blocks: Sequence[tuple[int, int]]) -> None:  # noqa: B027 - a hint that most cannot use
        """Tell the system that *blocks* will be read soon; it reads them while this thread goes on."""

    def tile(self, rows: int) -> Tile | None:
        """Return a tile of up to *rows* rows that takes them faster than the common one, or None."""
        return None

    def gather(self, rows: Integers, into: Rows) -> bool:
        """Fill *into* with the rows *rows* of the file, in any order; only where the part is seekable."""
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027 - most readers have nothing to give back
        """Give back what is open."""


class Tile:
    """Blocks laid one after another, out of which rows are taken.

    Args:
        reader: what reads the blocks.
        rows: where the rows of all blocks together find room.

    Attributes:
        is_finite: whether all values that were loaded are known to be finite and no weight to be negative.
    """

    is_finite = False

    def __init__(self, reader: TableReader, rows: Rows) -> None:
        self._reader = reader
        self._rows = rows

    def load(self, blocks: Sequence[tuple[int, int]]) -> None:
        """Read *blocks*, (first, past the last) each."""
        count = sum(stop - start for start, stop in blocks)
        self.is_finite = self._reader.read_blocks(blocks, cut(self._rows, 0, count))

    def take(self, index: Integers, into: Rows) -> None:
        """Copy the rows at the places *index* to *into*."""
        take(self._rows, index, into)


class RowTable:
    """Parts in order, as rows 0 … n−1.

    Args:
        parts: the files, at least one with rows.
        layout: what a row holds, the same in all of them.
        extra: further words for the fingerprint (which columns, which filter).
    """

    def __init__(self, parts: Sequence[Part], layout: Layout, extra: str = "") -> None:
        self.parts = list(parts)
        self.layout = layout
        self.offsets = np.concatenate([[0], np.cumsum([part.n for part in parts])]).astype(np.int64)
        words = [extra, str(layout), *(f"{part.n} {part.identity}" for part in parts)]
        self.fingerprint = hashlib.blake2b("\n".join(words).encode(), digest_size=16).hexdigest()

    @property
    def n(self) -> int:
        """Rows in all."""
        return int(self.offsets[-1])

    @property
    def is_mapped(self) -> bool:
        """Whether the values lie in mapped memory, in every part."""
        return all(part.is_mapped for part in self.parts)

    @property
    def block_bytes(self) -> int:
        """From which size on a block is read at full speed."""
        return max(part.block_bytes for part in self.parts)

    @property
    def is_seekable(self) -> bool:
        """Whether any single row can be gathered."""
        return all(part.is_seekable for part in self.parts)

    def bounds(self, block_rows: int) -> Integers:
        """Return where blocks begin: every *block_rows* rows, or with the units of the files, never across files."""
        found = [np.zeros(1, np.int64)]
        for part, offset in zip(self.parts, self.offsets.tolist(), strict=False):
            if part.units is None:
                ends = np.append(np.arange(block_rows, part.n, block_rows), part.n)
            else:
                ends = part.units[1:]
            found.append(ends[np.diff(ends, prepend=0) > 0] + offset)
        return np.concatenate(found)

    def place(self, row: int) -> str:
        """Return ``row 7 of FILE`` for a row of the whole."""
        number = int(np.searchsorted(self.offsets, row, side="right")) - 1
        return f"row {row - int(self.offsets[number])} of {self.parts[number].name}"

    def reader(self) -> TableReader:
        """Return a reader with a position of its own; one per thread."""
        return TableReader(self)


class TableReader:
    """Reads rows of a table; the files stay open between calls."""

    _MOST_OPEN = 64

    def __init__(self, table: RowTable) -> None:
        self.table = table
        self._open: dict[int, PartReader] = {}

    def __enter__(self) -> TableReader:
        return self

    def __exit__(self, *_: Any) -> None:
        for reader in self._open.values():
            reader.close()
        self._open.clear()

    def _part(self, number: int) -> PartReader:
        found = self._open.get(number)
        if found is None:
            if len(self._open) >= self._MOST_OPEN and not self.table.is_mapped:
                self._open.pop(next(iter(self._open))).close()
            found = self._open[number] = self.table.parts[number].open()
        return found

    def read(self, start: int, stop: int, into: Rows) -> bool:
        """Fill *into* with the rows *start* … *stop* − 1; return what `PartReader.read` does."""
        offsets = self.table.offsets
        number, done, finite = int(np.searchsorted(offsets, start, side="right")) - 1, 0, True
        while start < stop:
            first, past = int(offsets[number]), int(offsets[number + 1])
            count = min(stop, past) - start
            if count:
                own = cut(into, done, done + count)
                finite = self._part(number).read(start - first, start - first + count, own) and finite
            start, done, number = start + count, done + count, number + 1
        return finite

    def read_blocks(self, blocks: Sequence[tuple[int, int]], into: Rows) -> bool:
        """Fill *into* with the rows of *blocks*, (first, past the last) each, one after another."""
        if len(self.table.parts) == 1:
            return self._part(0).read_blocks(blocks, into)
        done, finite = 0, True
        for start, stop in blocks:
            finite = self.read(start, stop, cut(into, done, done + stop - start)) and finite
            done += stop - start
        return finite

    def will_need(self, blocks: Sequence[tuple[int, int]]) -> None:
        """Tell the system that *blocks* will be read soon."""
        if len(self.table.parts) == 1:
            self._part(0).will_need(blocks)
            return
        for start, stop in blocks:
            for number in self._numbers(start, stop):
                first, past = int(self.table.offsets[number]), int(self.table.offsets[number + 1])
                self._part(number).will_need([(max(start, first) - first, min(stop, past) - first)])

    def _numbers(self, start: int, stop: int) -> range:
        """Return the parts that hold the rows *start* … *stop* − 1."""
        first, last = np.searchsorted(self.table.offsets, [start, stop - 1], side="right") - 1
        return range(int(first), int(last) + 1)

    def tile(self, rows: int) -> Tile:
        """Return a tile of up to *rows* rows."""
        own = self._part(0).tile(rows) if len(self.table.parts) == 1 else None
        return Tile(self, self.table.layout.empty(rows)) if own is None else own

    def view_or_read(self, start: int, stop: int, into: Rows) -> Rows:
        """Return the rows *start* … *stop* − 1 where they lie, or else in *into*."""
        number = int(np.searchsorted(self.table.offsets, start, side="right")) - 1
        if stop <= self.table.offsets[number + 1]:
            first = int(self.table.offsets[number])
            found = self._part(number).views(start - first, stop - first, into)
            if found is not None:
                return found
        self.read(start, stop, into)
        return into

    def views_of_all(self, like: Rows) -> Rows | None:
        """Return all rows where they lie, if that is one file in the types of *like*; else None."""
        return self._part(0).views(0, self.table.n, like) if len(self.table.parts) == 1 else None

    def gather(self, rows: Integers, into: Rows) -> bool:
        """Fill *into* with the rows *rows*, in any order; only where the table is seekable."""
        if len(self.table.parts) == 1:
            return self._part(0).gather(rows, into)
        finite = True
        numbers = np.searchsorted(self.table.offsets, rows, side="right") - 1
        for number in np.unique(numbers).tolist():
            places = np.flatnonzero(numbers == number)
            some = self.table.layout.empty(len(places))
            finite = self._part(number).gather(rows[places] - self.table.offsets[number], some) and finite
            for whole, piece in zip(into, some, strict=True):
                if whole is not None and piece is not None:
                    whole[places] = piece
        return finite

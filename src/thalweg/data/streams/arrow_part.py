"""Files that Arrow decodes, unit after unit (row groups, record batches, pieces of text)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Chosen, Columns, refuse_null, to_numbers
from .files import WHO, File
from .rows import Rows, cut
from .table import Part, PartReader

__all__ = ["ArrowPart", "ArrowReader", "need_pyarrow"]


def need_pyarrow(path: str) -> None:
    """Raise unless pyarrow is installed.

    Raises:
        ImportError: it is not.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise ImportError(f"{WHO}: reading {path} needs pyarrow; install it with thalweg[data].") from None


class ArrowPart(Part):
    """A file of units, each of which is decoded from its beginning.

    Args:
        file: the file.
        chosen: the columns that are read.
        condition: a ``pyarrow.compute`` expression that rows must fulfil, or None.
    """

    is_mapped = False
    is_seekable = False
    block_bytes = 1 << 20
    unit_name = "unit"
    item: np.dtype[Any] | None = None  # the one type of all columns, where their values lie in a mapped file
    bounds: NDArray[np.int64]

    def __init__(self, file: File, chosen: Chosen, condition: Any) -> None:
        self.file = file
        self.name = file.path
        self.chosen = chosen
        self.condition = condition
        self.identity = file.identity

    def count(self, sizes: list[int]) -> None:
        """Take up the rows of every unit."""
        self.bounds = self.units = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.n = int(self.bounds[-1])

    def seekable(self, item: np.dtype[Any] | None) -> None:
        """Say that the units are views of a mapped file, of columns of one type or (None) of several.

        Blocks need not be whole units then, and 32 of the small ones fit into a core's cache.
        """
        self.is_seekable = self.is_mapped = True
        self.item = item
        self.units = None
        self.block_bytes = 48 << 10

    @abstractmethod
    def batches(self, unit: int, opened: Any) -> Iterator[Any]:
        """Yield the record batches of a unit: the chosen columns in their order, rows already filtered."""

    def views(self, unit: int, opened: Any) -> tuple[NDArray[np.int64], list[Columns]] | None:
        """Return the first row within the unit of each of its pieces, and the pieces' columns, where they lie.

        None where they are to be had from `batches` only.
        """
        return None

    def places(self, unit: int, opened: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Return the first row within the unit of each of its pieces, and the addresses of its columns there.

        None where they are to be had from `views` or `batches` only.
        """
        return None

    def columns(self, batch: Any) -> Columns:
        """Return the columns of a record batch as numbers."""
        return Columns([to_numbers(column) for column in batch.columns], len(self.chosen.features))

    def opened(self) -> Any:
        """Return what `batches` reads from; one per reader."""
        return None

    def open(self) -> PartReader:
        return ArrowReader(self)

    def damaged(self, unit: int | None, error: Exception) -> ValueError:
        """Return the error for what Arrow could not read."""
        where = "" if unit is None else f", {self.unit_name} {unit} of {len(self.bounds) - 1}"
        return damaged(self.file, where, error)

    def sizes_by_reading(self, units: int) -> list[int]:
        """Return the rows of every unit under the condition, by reading them."""
        opened, sizes = self.opened(), [0] * units
        for unit in range(units):
            self.count(sizes)  # messages count rows from what is known by now
            sizes[unit] = sum(batch.num_rows for batch in self.batches(unit, opened))
        return sizes


def damaged(file: File, where: str, error: Exception) -> ValueError:
    """Return the error for a file that Arrow could not read."""
    said = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    return ValueError(
        f"{WHO}: {file.path} ({file.size} bytes){where} cannot be read: {said}; the file is truncated or damaged: "
        "check how it was written, or copy it again."
    )


class ArrowReader(PartReader):
    """Reads rows; goes on where the last read ended, and decodes a unit again only to go back."""

    def __init__(self, part: ArrowPart) -> None:
        self._part = part
        self._opened = part.opened()
        self._row = -1  # of the first row that was not read yet
        self._used = 0  # rows of `_batch` that were read
        self._unit = -1
        self._other: int | None = None  # the unit that is read in another way than from `_stream`
        self._stream: Iterator[Any] = iter(())
        self._batch: Any = None
        self._columns: Columns | None = None

    def read(self, start: int, stop: int, into: Rows) -> bool:
        return self.read_blocks([(start, stop)], into)

    def read_blocks(self, blocks: Sequence[tuple[int, int]], into: Rows) -> bool:
        with self._damages():
            return self._read_blocks(blocks, into)

    def gather(self, rows: NDArray[np.int64], into: Rows) -> bool:
        with self._damages():
            return self._gather(rows, into)

    @contextmanager
    def _damages(self) -> Iterator[None]:
        """Name the file and the unit in what Arrow says."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise self._part.damaged(self._unit if self._other is None else self._other, error) from None

    def _read_blocks(self, blocks: Sequence[tuple[int, int]], into: Rows) -> bool:
        done, finite = 0, True
        for start, stop in blocks:
            finite = self._read(start, stop, cut(into, done, done + stop - start)) and finite
            done += stop - start
        return finite

    def _gather(self, rows: NDArray[np.int64], into: Rows) -> bool:
        raise NotImplementedError

    def _read(self, start: int, stop: int, into: Rows) -> bool:
        if start != self._row:
            self._seek(start)
        done = 0
        while start < stop:
            count = min(stop - start, self._next())
            self._numbers().fill(self._used, cut(into, done, done + count))
            self._used += count
            start, done = start + count, done + count
            self._row = start
        return False

    def _place(self, row: int) -> str:
        return f"row {row} of {self._part.name}"

    def _seek(self, row: int) -> None:
        self._unit = int(np.searchsorted(self._part.bounds, row, side="right")) - 1
        self._stream = self._part.batches(self._unit, self._opened)
        self._take_up(None)
        self._row = int(self._part.bounds[self._unit])
        while self._row < row:
            count = min(row - self._row, self._next())
            self._used += count
            self._row += count

    def _take_up(self, batch: Any) -> None:
        self._batch, self._columns, self._used = batch, None, 0

    def _numbers(self) -> Columns:
        """Return the columns of the present batch as numbers, made once."""
        if self._columns is None:
            start = self._row - self._used
            for name, column in zip(self._part.chosen.names, self._batch.columns, strict=True):
                refuse_null(column, name, start, self._place)
            self._columns = self._part.columns(self._batch)
        return self._columns

    def _next(self) -> int:
        """Return how many rows are left of the present batch, at least one."""
        while self._batch is None or self._used == self._batch.num_rows:
            self._take_up(next(self._stream, None))
            if self._batch is None:
                if self._row != self._part.bounds[self._unit + 1]:
                    first, past = self._part.bounds[self._unit : self._unit + 2]
                    raise ValueError(
                        f"{WHO}: {self._part.name}, {self._part.unit_name} {self._unit} ends after {self._row - first} "
                        f"rows, although it had {past - first} when the stream was made; the file has changed: make "
                        "the stream again."
                    )
                self._unit += 1
                self._stream = self._part.batches(self._unit, self._opened)
        return int(self._batch.num_rows - self._used)

    def close(self) -> None:
        self._stream, self._opened = iter(()), None
        self._take_up(None)

"""Rows of Arrow's columns that lie in a mapped file, in blocks or one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .arrow_part import ArrowPart, ArrowReader
from .columns import Columns, refuse_null
from .paged_rows import PagedRows
from .rows import Rows, cut

__all__ = ["GatheringReader"]


class GatheringReader(ArrowReader):
    """Reads units; where they are views of a mapped file, any rows of them, without decoding what lies before."""

    def __init__(self, part: ArrowPart) -> None:
        super().__init__(part)
        self._pieces: dict[int, tuple[NDArray[np.int64], list[Columns]]] = {}
        self._paged: PagedRows | None = None

    def _of_unit(self, unit: int) -> tuple[NDArray[np.int64], list[Columns]]:
        """Return the first row of every piece of a unit, and its columns; views, so that keeping them costs nothing."""
        self._other = unit
        lying = None if unit in self._pieces else self._part.views(unit, self._opened)
        if lying is not None:
            self._pieces[unit] = lying[0] + self._part.bounds[unit], lying[1]
        if unit not in self._pieces:
            row, starts, pieces = int(self._part.bounds[unit]), [], []
            for batch in self._part.batches(unit, self._opened):
                for name, column in zip(self._part.chosen.names, batch.columns, strict=True):
                    refuse_null(column, name, row, self._place)
                if batch.num_rows:
                    starts.append(row)
                    pieces.append(self._part.columns(batch))
                row += batch.num_rows
            self._pieces[unit] = np.array(starts, np.int64), pieces
        return self._pieces[unit]

    def _found(self, unit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first row within a unit of each of its pieces, and the addresses of their columns."""
        self._other = unit
        known = self._part.places(unit, self._opened)
        if known is not None:
            return known
        starts, pieces = self._of_unit(unit)
        return starts - self._part.bounds[unit], np.stack([piece.addresses for piece in pieces])

    def _lying(self, into: Rows) -> PagedRows | None:
        """Return what copies rows by kernels, where the columns are of the type that is asked for."""
        kinds = {part.dtype for part in into if part is not None}
        if not self._part.is_seekable or into.w is not None or kinds != {self._part.item}:
            return None
        if self._paged is None:
            assert self._part.item is not None, "it is one of the kinds"
            width = len(self._part.chosen.features)
            self._paged = PagedRows(self._part.bounds, self._found, self._part.item, width)
        return self._paged

    def _read_blocks(self, blocks: Sequence[tuple[int, int]], into: Rows) -> bool:
        lying = self._lying(into)
        done = None if lying is None else lying.read_blocks(blocks, into)
        return super()._read_blocks(blocks, into) if done is None else done

    def _read(self, start: int, stop: int, into: Rows) -> bool:
        if not self._part.is_seekable:
            return super()._read(start, stop, into)
        done, total = 0, stop - start
        while done < total:
            row = start + done
            starts, pieces = self._of_unit(int(np.searchsorted(self._part.bounds, row, side="right")) - 1)
            number = int(np.searchsorted(starts, row, side="right")) - 1
            first = row - int(starts[number])
            count = min(total - done, len(pieces[number]) - first)
            pieces[number].fill(first, cut(into, done, done + count))
            done += count
        return False

    def _gather(self, rows: NDArray[np.int64], into: Rows) -> bool:
        lying = self._lying(into)
        found = None if lying is None else lying.gather(rows, into)
        if found is not None:
            return found
        units = np.searchsorted(self._part.bounds, rows, side="right") - 1
        for unit in np.unique(units).tolist():
            places = np.flatnonzero(units == unit)
            starts, pieces = self._of_unit(unit)
            numbers = np.searchsorted(starts, rows[places], side="right") - 1
            for number in np.unique(numbers).tolist():
                some = places[numbers == number]
                pieces[number].take(rows[some] - starts[number], some, into)
        return False

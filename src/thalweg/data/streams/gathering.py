"""Single rows out of Arrow's columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .arrow_part import ArrowPart, ArrowReader
from .columns import Columns, refuse_null
from .rows import Rows, cut

__all__ = ["GatheringReader"]


class GatheringReader(ArrowReader):
    """Reads units; where they are views of a mapped file, any rows of them, without decoding what lies before."""

    def __init__(self, part: ArrowPart) -> None:
        super().__init__(part)
        self._pieces: dict[int, tuple[NDArray[np.int64], list[Columns]]] = {}

    def _of_unit(self, unit: int) -> tuple[NDArray[np.int64], list[Columns]]:
        """Return the first row of every piece of a unit, and its columns; views, so that keeping them costs nothing."""
        lying = None if unit in self._pieces else self._part.views(unit, self._opened)
        if lying is not None:
            self._pieces[unit] = lying[0] + self._part.bounds[unit], lying[1]
        if unit not in self._pieces:
            row, starts, pieces = int(self._part.bounds[unit]), [], []
            for batch in self._part.batches(unit, self._opened):
                for name, column in zip(self._part.chosen.names, batch.columns, strict=True):
                    refuse_null(column, name, row, self._place)
                starts.append(row)
                pieces.append(self._part.columns(batch))
                row += batch.num_rows
            self._pieces[unit] = np.array(starts), pieces
        return self._pieces[unit]

    def _read(self, start: int, stop: int, into: Rows) -> None:
        if not self._part.is_seekable:
            super()._read(start, stop, into)
            return
        done, total = 0, stop - start
        while done < total:
            row = start + done
            starts, pieces = self._of_unit(int(np.searchsorted(self._part.bounds, row, side="right")) - 1)
            number = int(np.searchsorted(starts, row, side="right")) - 1
            first = row - int(starts[number])
            count = min(total - done, len(pieces[number]) - first)
            pieces[number].fill(first, cut(into, done, done + count))
            done += count

    def gather(self, rows: NDArray[np.int64], into: Rows) -> None:
        units = np.searchsorted(self._part.bounds, rows, side="right") - 1
        for unit in np.unique(units).tolist():
            places = np.flatnonzero(units == unit)
            starts, pieces = self._of_unit(unit)
            numbers = np.searchsorted(starts, rows[places], side="right") - 1
            for number in np.unique(numbers).tolist():
                some = places[numbers == number]
                pieces[number].take(rows[some] - starts[number], some, into)

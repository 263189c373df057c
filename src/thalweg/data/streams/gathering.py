"""Single rows out of Arrow's columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrow_part import ArrowPart, ArrowReader
from .columns import refuse_null, to_numbers
from .rows import Rows

__all__ = ["GatheringReader"]


class GatheringReader(ArrowReader):
    """Reads units, and single rows where the units are views of a mapped file."""

    def __init__(self, part: ArrowPart) -> None:
        super().__init__(part)
        self._columns: dict[int, list[NDArray[Any]]] = {}

    def gather(self, rows: NDArray[np.int64], into: Rows) -> None:
        units = np.searchsorted(self._part.units, rows, side="right") - 1
        targets = [*into.x.T]
        if into.y is not None:
            targets.extend([into.y] if into.y.ndim == 1 else into.y.T)
        if into.w is not None:
            targets.append(into.w)
        for unit in np.unique(units).tolist():
            places = np.flatnonzero(units == unit)
            local = rows[places] - self._part.units[unit]
            for column, target in zip(self._numbers(unit), targets, strict=True):
                target[places] = column[local]

    def _numbers(self, unit: int) -> list[NDArray[Any]]:
        if unit not in self._columns:
            import pyarrow as pa

            table = pa.Table.from_batches(list(self._part.batches(unit, self._opened)))
            found = []
            for name, column in zip(self._part.chosen.names, table.columns, strict=True):
                refuse_null(column, name, int(self._part.units[unit]), self._place)
                found.append(to_numbers(column.combine_chunks()))
            self._columns[unit] = found
        return self._columns[unit]

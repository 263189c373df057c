"""Rows whose columns lie in pieces (pages, record batches) of mapped memory, copied by kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernels import KERNELS
from .rows import Rows

__all__ = ["PagedRows"]

Integers = NDArray[np.int64]
Places = tuple[Integers, Integers]


class PagedRows:
    """Pieces of columns by their addresses; units (row groups) are looked up when a row of them is first asked for.

    Args:
        bounds: the first row of every unit, and the number of rows at the end.
        find: unit → the first row within it of every piece **(k,)**, and where each column of x, then of y, begins
            there **(k, p)**.
        item: the type of all columns.
        width: columns of x.
    """

    def __init__(self, bounds: Integers, find: Callable[[int], Places], item: np.dtype[Any], width: int) -> None:
        self._bounds, self._find, self._item, self._width = bounds, find, item, width
        self._known = np.zeros(len(bounds) - 1, bool)
        self._are_all_known = False
        self._found: dict[int, Places] = {}
        self._starts = np.empty(0, np.int64)
        self._places = np.empty((0, 0), np.int64)

    def _look_up(self, rows: Integers) -> Integers:
        """Return the number of the piece of every row; all units that hold one are known afterwards."""
        if not self._are_all_known:
            units = np.unique(np.searchsorted(self._bounds, rows, side="right") - 1)
            missing = units[~self._known[units]].tolist()
            for unit in missing:
                starts, places = self._find(unit)
                self._found[unit] = starts + self._bounds[unit], places
            if missing:
                self._known[missing] = True
                self._are_all_known = bool(self._known.all())
                inside = sorted(self._found)
                self._starts = np.concatenate([self._found[unit][0] for unit in inside])
                self._places = np.concatenate([self._found[unit][1] for unit in inside])
        return np.searchsorted(self._starts, rows, side="right") - 1

    def read_blocks(self, blocks: Sequence[tuple[int, int]], into: Rows) -> bool | None:
        """Fill *into* with the rows of *blocks*, (first, past the last) each, one after another.

        Return whether all are finite, or None where nothing was done.
        """
        if KERNELS.columns_to_rows is None:
            return None
        bounds = np.array(blocks, np.int64).reshape(-1, 2)
        first, past = bounds[:, 0], bounds[:, 1]
        number, last = self._look_up(np.concatenate([first, past - 1])).reshape(2, -1)
        if (number != last).any():
            bounds = self._cut(bounds, number != last)
            first, past = bounds[:, 0], bounds[:, 1]
            number = np.searchsorted(self._starts, first, side="right") - 1
        places = self._places[number] + ((first - self._starts[number]) * self._item.itemsize)[:, None]
        counts = past - first
        return self._both(into, lambda own, out: KERNELS.columns_to_rows(places[:, own], counts, out))  # type: ignore[misc]

    def _cut(self, blocks: Integers, where: NDArray[np.bool_]) -> Integers:
        """Return *blocks*, **(k, 2)**, with those *where* pieces end inside cut there."""
        cut: list[Integers] = []
        for block, inside in zip(blocks, where.tolist(), strict=True):
            edges = block
            if inside:
                start, stop = block.tolist()
                self._look_up(self._bounds[(self._bounds > start) & (self._bounds < stop)])
                one, other = np.searchsorted(self._starts, [start + 1, stop])
                edges = np.concatenate([block[:1], self._starts[one:other], block[1:]])
            cut.append(np.stack([edges[:-1], edges[1:]], 1))
        return np.concatenate(cut)

    def gather(self, rows: Integers, into: Rows) -> bool | None:
        """Fill *into* with the rows *rows*, in any order; return as `read_blocks` does."""
        if KERNELS.take_columns is None:
            return None
        numbers = self._look_up(rows)
        offsets = rows - self._starts[numbers]
        places = self._places
        return self._both(into, lambda own, out: KERNELS.take_columns(places[:, own], numbers, offsets, out))  # type: ignore[misc]

    def _both(self, into: Rows, copy: Callable[[slice, NDArray[Any]], bool | None]) -> bool | None:
        """Copy x, and then y as a matrix."""
        done = copy(slice(0, self._width), into.x)
        if done is None or into.y is None:
            return done
        rest = copy(slice(self._width, None), into.y.reshape(len(into.y), -1))
        return None if rest is None else done and rest

"""Rows of Parquet row groups that are decoded a row of pages at a time, by several threads."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .page_decoder import DecodedGroup
from .rows import Rows, cut

__all__ = ["DecodedRows"]

_MOST_THREADS = 4
_AHEAD_BYTES = 24 << 20  # of pages that are decoded before they are asked for


class DecodedRows:
    """Rows of row groups, whole pages of which are written to where they shall lie by threads.

    Where only some rows of a page are asked for, its columns are kept for those that follow, and the next pages are
    decoded meanwhile.

    Args:
        bounds: the first row of every row group, and the number of rows at the end.
        open_group: row group → its pages, or None where it cannot be decoded here.
        row_bytes: of a row.
    """

    def __init__(
        self, bounds: NDArray[np.int64], open_group: Callable[[int], DecodedGroup | None], row_bytes: int
    ) -> None:
        self._bounds, self._open_group, self._row_bytes = bounds, open_group, row_bytes
        self._group: tuple[int, DecodedGroup, list[int]] | None = None
        self._kept: OrderedDict[tuple[int, int], Future[Columns]] = OrderedDict()
        threads = min(_MOST_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="thalweg-pages")
        self._threads = threads

    def read(self, start: int, stop: int, into: Rows) -> tuple[int, bool]:
        """Fill *into* with the rows *start* … *stop* − 1 of one row group.

        Return how many rows were written, 0 where the row group cannot be decoded here, and whether all of x are known
        to be finite.

        Raises:
            OSError: a page is damaged.
        """
        unit = int(np.searchsorted(self._bounds, start, side="right")) - 1
        found = self._opened(unit)
        if found is None:
            return 0, False
        group, edges = found
        first = int(self._bounds[unit])
        stop = min(stop, int(self._bounds[unit + 1]))
        page = int(np.searchsorted(edges, start - first, side="right")) - 1
        row, whole, partial = start, [], []
        while row < stop:
            begin, end = first + edges[page], first + edges[page + 1]
            past = min(stop, end)
            out = cut(into, row - start, past - start)
            if row == begin and past == end and (unit, page) not in self._kept:
                whole.append(self._pool.submit(_filled, group, page, out))
            else:
                partial.append((page, row - begin, out))
            row, page = past, page + 1
        try:
            finite = [self._columns(unit, group, edges, number).fill(at, out) for number, at, out in partial]
        finally:
            wait(whole)  # none may write after the buffer is given back
        finite.extend(future.result() for future in whole)
        return stop - start, all(finite)

    def _opened(self, unit: int) -> tuple[DecodedGroup, list[int]] | None:
        if self._group is None or self._group[0] != unit:
            found = self._open_group(unit)
            if found is None:
                return None
            self._group = (unit, found, found.edges)
        return self._group[1:]

    def _columns(self, unit: int, group: DecodedGroup, edges: list[int], page: int) -> Columns:
        """Return a row of pages, and let the next ones be decoded."""
        most = max(1, edges[1] * self._row_bytes)
        ahead = min(self._threads, _AHEAD_BYTES // most)
        for number in range(page, min(page + 1 + ahead, len(edges) - 1)):
            if (unit, number) not in self._kept:
                self._kept[unit, number] = self._pool.submit(group.columns, number)
        while len(self._kept) > ahead + 1 and next(iter(self._kept)) != (unit, page):
            self._kept.popitem(last=False)[1].cancel()
        return self._kept[unit, page].result()

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._kept.clear()
        self._group = None


def _filled(group: DecodedGroup, page: int, into: Rows) -> bool:
    return group.columns(page).fill(0, into)

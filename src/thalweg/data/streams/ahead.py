"""Hints to the system about rows that are read soon, where they come from a disk and not from memory."""

from __future__ import annotations

from .order import EpochOrder
from .table import TableReader

__all__ = ["SLOW", "Ahead"]

SLOW = 2e-9
"""Seconds per byte: what is slower than 500 MB/s does not come from the page cache."""

_BATCHES = 8  # that are asked for ahead
_PATIENCE = 32  # batches for which hints are given after some that were slow
_IN_A_ROW = 4  # that must be slow: one or two may have been held up by anything


class Ahead:
    """Tells the system which rows of a mapped file come next, as long as they come from a disk.

    A hint costs as much as copying what it is about, so that none is given while rows come from the page cache.

    Args:
        order: of the epoch.
        reader: has the rows mapped; None gives no hints.
        row_bytes: bytes of a row.
    """

    def __init__(self, order: EpochOrder, reader: TableReader | None, row_bytes: int) -> None:
        self._order, self._reader, self._row_bytes = order, reader, row_bytes
        self._left = self._slow = 0
        self._told = 0  # the position, or window, up to which hints were given

    def took(self, seconds: float, start: int, stop: int) -> None:
        """Take note that the rows at the positions *start* … *stop* − 1 took *seconds* to use."""
        self._slow = self._slow + 1 if seconds > SLOW * self._row_bytes * (stop - start) else 0
        if self._slow >= _IN_A_ROW:
            self._left = _PATIENCE
        if not self._left or self._reader is None:
            return
        self._left -= 1
        past = min(stop + _BATCHES * (stop - start), self._order.order.n)
        if self._order.order.shuffle is False:
            first = max(stop, self._told)
            if first < past:
                self._reader.will_need([(first, past)])
                self._told = past
        elif self._order.order.shuffle == "block":
            last = self._order.window_of(past - 1)
            for number in range(max(self._order.window_of(stop - 1) + 1, self._told), last + 1):
                self._reader.will_need(self._order.blocks(number))
            self._told = max(self._told, last + 1)

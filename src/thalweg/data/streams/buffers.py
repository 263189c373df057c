"""Memory for batches that is used again as soon as nobody holds a batch in it."""

from __future__ import annotations

import sys

import numpy as np

from .rows import Array, Layout, Rows, aligned

__all__ = ["Buffers"]

_AT_ONCE = 4 << 20  # NumPy asks for huge pages from this size on
_PROBE = [bytearray(1)]
_ALONE = sys.getrefcount(_PROBE[0])  # what a list entry without other holders counts, asked in the same way as below


class Buffers:
    """Buffers of up to *rows* rows.

    Every batch is made of views of one of `_free`'s arrays, and a tensor made from a view holds the view. As long as a
    batch, a slice of it or a graph that saved it is alive, the array therefore has more references than the pool's own,
    and another one is taken. Without the pool every batch would pay for fresh pages from the system.

    Args:
        layout: what a row holds.
        rows: the most rows that one buffer must take.

    Attributes:
        rows: the same.
    """

    def __init__(self, layout: Layout, rows: int) -> None:
        self._layout = layout
        self._size = max(64, layout.size(rows))
        self.rows = rows
        self._owned: list[Array] = []

    def empty(self, count: int) -> Rows:
        """Return *count* rows whose values are not set."""
        assert count <= self.rows, "a buffer takes no more rows than it was made for"
        for index in range(len(self._owned)):
            if sys.getrefcount(self._owned[index]) == _ALONE:
                return self._layout.over(self._owned[index], count)
        self._owned.extend(self._more())
        return self._layout.over(self._owned[-1], count)

    def _more(self) -> list[Array]:
        """Return further arrays, cut from one piece of memory; each counts its own references."""
        pieces = max(1, -(-_AT_ONCE // self._size))
        whole = aligned(pieces * self._size).data
        return [
            np.frombuffer(whole[index * self._size : (index + 1) * self._size], np.uint8) for index in range(pieces)
        ]

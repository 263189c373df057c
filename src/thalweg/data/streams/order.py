"""Which row stands at which position of an epoch: a function of (seed, epoch), nothing stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..permutation import epoch_key, mix32, permutation
from .permutation import KeyedPermutation

__all__ = ["EpochOrder", "Order", "Shuffle", "Window"]

Integers = NDArray[np.int64]
_PERMUTATIONS = 16
_ROWS_AT_ONCE = 1 << 16  # whose numbers are worked out together
Shuffle = Literal["block", "full", False]


@dataclass(frozen=True)
class Window:
    """Blocks whose rows are permuted together.

    Attributes:
        start: the first position of the window.
        stop: one past its last.
        blocks: the row ranges, (first, past the last), in the order in which they are read.
        index: position − start → place among the blocks' rows laid one after another; None leaves them as they are.
    """

    start: int
    stop: int
    blocks: list[tuple[int, int]]
    index: Integers | None

    def rows(self) -> Integers:
        """Return the row numbers at the window's positions."""
        laid = np.concatenate([np.arange(*block) for block in self.blocks])
        return laid if self.index is None else laid[self.index]


@dataclass(frozen=True, eq=False)
class Order:
    """The order of every epoch.

    Args:
        bounds: where the blocks begin, and the number of rows n at the end; shape **(blocks + 1,)**.
        shuffle: ``"block"``: blocks in keyed random order, the rows of *window* successive ones permuted together;
            ``"full"``: a keyed permutation of all rows; False: rows as they lie in the files.
        seed: of the order.
        window: blocks per window.

    >>> order = Order(np.array([0, 2, 4, 5]), "block", seed=0, window=2).epoch(0)
    >>> sorted(order.rows(0, 5).tolist())
    [0, 1, 2, 3, 4]
    >>> order.rows(3, 5).tolist() == order.rows(0, 5)[3:].tolist()
    True
    """

    bounds: Integers
    shuffle: Shuffle
    seed: int
    window: int

    @property
    def n(self) -> int:
        """Rows of an epoch."""
        return int(self.bounds[-1])

    @cached_property
    def regular(self) -> int | None:
        """The rows of every block, where all but the last one have equally many, else None."""
        sizes = np.diff(self.bounds)
        return int(sizes[0]) if (sizes[:-1] == sizes[0]).all() else None

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of one epoch."""
        return EpochOrder(self, epoch)


class EpochOrder:
    """The order of one epoch: `rows` at any positions, `window` by number."""

    def __init__(self, order: Order, epoch: int) -> None:
        self.order = order
        self.number = epoch
        self._permutations: dict[tuple[int, int], Integers] = {}
        self._last: tuple[int, int, Integers] | None = None  # the windows that `rows` looked at last

    @cached_property
    def _key(self) -> int:
        return epoch_key(self.order.seed, self.number)

    @cached_property
    def _blocks(self) -> Integers:
        """The blocks in the order of this epoch."""
        count = len(self.order.bounds) - 1
        straight = np.arange(count)
        if self.order.shuffle != "block":
            return straight
        return KeyedPermutation(count, self.order.seed, self.number)(straight)

    @cached_property
    def starts(self) -> Integers:
        """The position at which each window begins, and n at the end; shape **(windows + 1,)**."""
        lengths = np.diff(self.order.bounds)[self._blocks]
        past = np.concatenate([[0], np.cumsum(lengths)])
        return np.append(past[:-1][:: self.order.window], past[-1])

    def window_of(self, position: int) -> int:
        """Return the number of the window that holds *position*."""
        return int(np.searchsorted(self.starts, position, side="right")) - 1

    def window(self, number: int) -> Window:
        """Return a window by its number, 0 … windows − 1."""
        start, stop = int(self.starts[number]), int(self.starts[number + 1])
        index = self._within(stop - start, number) if self.order.shuffle == "block" else None
        return Window(start, stop, self.blocks(number), index)

    def blocks(self, number: int) -> list[tuple[int, int]]:
        """Return the row ranges of a window, (first, past the last), in the order in which they are read."""
        size = self.order.window
        chosen = self._blocks[number * size : (number + 1) * size]
        first, past = self.order.bounds[chosen], self.order.bounds[chosen + 1]
        return list(zip(first.tolist(), past.tolist(), strict=True))

    def _windows_rows(self, first: int) -> tuple[int, int, Integers]:
        """Return the positions (from, past the last) of some windows from *first* on, and the rows there.

        As ``window(number).rows()`` gives them, but for many small windows with a third of the calls.
        """
        window, last = self.order.window, len(self.starts) - 2
        size = self.order.regular
        count = 0 if size is None else min(_ROWS_AT_ONCE // (window * size), last - first)
        chosen = self._blocks[first * window : (first + count) * window]
        short = np.flatnonzero(chosen == len(self.order.bounds) - 2)  # the last block may have fewer rows
        count = int(short[0]) // window if len(short) else count
        if size is None or count < 2 or self.order.shuffle != "block":
            rows = self.window(first).rows()
            return int(self.starts[first]), int(self.starts[first + 1]), rows
        begin = self.order.bounds[chosen[: count * window]].reshape(count, window, 1)
        laid = (begin + np.arange(size)).reshape(count, window * size)
        found = np.empty_like(laid)
        for number in range(count):
            laid[number].take(self._within(window * size, first + number), out=found[number], mode="clip")
        return int(self.starts[first]), int(self.starts[first + count]), found.reshape(-1)

    def _within(self, count: int, number: int) -> Integers:
        """Return the permutation within a window of *count* rows: one of sixteen that are drawn for the epoch.

        The blocks of a window are a random choice already; a permutation of its own for every window would cost as
        much as copying its rows.
        """
        chosen = mix32(self._key ^ number) % _PERMUTATIONS
        if (count, chosen) not in self._permutations:
            # Of 2**32 + key: another seed than that of any epoch of data in memory.
            self._permutations[count, chosen] = permutation(count, self._key | 1 << 32, chosen).numpy()
        return self._permutations[count, chosen]

    def rows(self, start: int, stop: int) -> Integers:
        """Return the row numbers at the positions *start* … *stop* − 1."""
        if self.order.shuffle == "full":
            return self._all(np.arange(start, stop))
        if self.order.shuffle is False:
            return np.arange(start, stop)
        found = []
        while start < stop:
            if self._last is None or not self._last[0] <= start < self._last[1]:
                self._last = self._windows_rows(self.window_of(start))
            first, past, rows = self._last
            found.append(rows[start - first : min(stop, past) - first])
            start = past
        return found[0] if len(found) == 1 else np.concatenate(found or [np.empty(0, np.int64)])

    @cached_property
    def _all(self) -> KeyedPermutation:
        return KeyedPermutation(self.order.n, self.order.seed, self.number)

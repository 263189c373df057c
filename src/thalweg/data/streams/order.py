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
        laid = np.concatenate([np.arange(first, past) for first, past in self.blocks])
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

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of one epoch."""
        return EpochOrder(self, epoch)


class EpochOrder:
    """The order of one epoch: `rows` at any positions, `window` by number."""

    def __init__(self, order: Order, epoch: int) -> None:
        self.order = order
        self.number = epoch
        self._permutations: dict[tuple[int, int], Integers] = {}
        self._last: tuple[int, Integers] | None = None  # the window that `rows` looked at last

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

    def _within(self, count: int, number: int) -> Integers:
        """Return the permutation within a window of *count* rows: one of sixteen that are drawn for the epoch.

        The blocks of a window are a random choice already; a permutation of its own for every window would cost as
        much as copying its rows.
        """
        key = epoch_key(self.order.seed, self.number)
        chosen = mix32(key ^ number) % _PERMUTATIONS
        if (count, chosen) not in self._permutations:
            # Of 2**32 + key: another seed than that of any epoch of data in memory.
            self._permutations[count, chosen] = permutation(count, key | 1 << 32, chosen).numpy()
        return self._permutations[count, chosen]

    def rows(self, start: int, stop: int) -> Integers:
        """Return the row numbers at the positions *start* … *stop* − 1."""
        if self.order.shuffle == "full":
            return self._all(np.arange(start, stop))
        if self.order.shuffle is False:
            return np.arange(start, stop)
        found = []
        number = self.window_of(start)
        while start < stop:
            if self._last is None or self._last[0] != number:
                self._last = (number, self.window(number).rows())
            offset, past = int(self.starts[number]), int(self.starts[number + 1])
            found.append(self._last[1][start - offset : min(stop, past) - offset])
            start, number = past, number + 1
        return found[0] if len(found) == 1 else np.concatenate(found or [np.empty(0, np.int64)])

    @cached_property
    def _all(self) -> KeyedPermutation:
        return KeyedPermutation(self.order.n, self.order.seed, self.number)

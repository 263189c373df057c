"""Data that fit into memory: on their device once, one gather per batch, no Python per sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from .base import Source
from .batch import Batch
from .finite import check_finite, check_row_weight
from .permutation import permutation
from .settings import check_settings, check_start, check_state, count_steps
from .structure import Structure, flatten

__all__ = ["MemorySource"]

GATHER_BYTES = 384 << 10
"""How many bytes one gather may copy when a batch is smaller than that.

Small batches are gathered several at once and handed out as views, which saves the calls. With more, the copy no longer
stays in a core's cache until its batch is used, and fresh pages from the system cost more than the calls saved.
"""


class MemorySource(Source):
    """Batches out of tensors, NumPy arrays, pandas or Arrow columns, in nested tuples and dicts.

    Arrays are converted once (`thalweg.data.convert` says to what) and moved to the device once. The order of an epoch
    is a permutation keyed by (seed, epoch): a resumed run needs no more state than its position. Every batch has the
    structure that the user gave. With ``shuffle=False`` batches are slices of the data, not copies.

    Args:
        data: an array, or tuples and dicts of arrays with the same number of rows, **(n, …)** each.
        batch_size: rows per batch, at least 1; the last batch holds the rest.
        shuffle: whether every epoch has an order of its own.
        drop_last: whether to leave out a last batch that is not full.
        seed: of the order, any integer.
        device: where the data are moved; None leaves them where they are.

    Raises:
        TypeError: something is no array, or holds no numbers.
        ValueError: no rows, different numbers of rows, or no full batch under ``drop_last``.

    >>> source = MemorySource(([[1.0], [2.0], [3.0]], [0, 1, 0]), batch_size=2, shuffle=False)
    >>> [(x.tolist(), y.tolist()) for x, y in source.batches(epoch=0)]
    [([[1.0], [2.0]], [0, 1]), ([[3.0]], [0])]
    """

    n: int
    batch_size: int
    steps_per_epoch: int

    def __init__(
        self,
        data: Any,
        *,
        batch_size: int = 64,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        check_settings("data.source", batch_size, seed)
        structure = data if isinstance(data, Structure) else flatten(data)
        _check_rows(structure.names, structure.leaves, movable=device is not None)
        self.device = structure.leaves[0].device if device is None else torch.device(device)
        # Rows that are not contiguous would be gathered element by element in every step.
        self.leaves = [leaf.to(self.device).contiguous() for leaf in structure.leaves]
        self.names = structure.names
        self.columns = structure.columns
        self._structure = structure
        self.n = len(self.leaves[0])
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.steps_per_epoch = count_steps(self.n, batch_size, drop_last)
        row_bytes = sum(leaf[:1].numel() * leaf.element_size() for leaf in self.leaves)
        self._batches_per_gather = max(1, GATHER_BYTES // max(1, row_bytes * batch_size))

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        check_start(self, epoch, start)
        rows = self._shuffled(epoch, start) if self.shuffle else self._sliced(start)
        return rows if self._structure.is_flat else map(self._structure.rebuild, rows)

    def _sliced(self, start: int) -> Iterator[tuple[Tensor, ...]]:
        first, stop = start * self.batch_size, self._stop()
        if first < stop:
            yield from zip(*(torch.split(leaf[first:stop], self.batch_size) for leaf in self.leaves), strict=True)

    def _shuffled(self, epoch: int, start: int) -> Iterator[tuple[Tensor, ...]]:
        # Whole gathers from the beginning of the one that holds `start`: a batch then lies at the same place in its
        # memory as in a run that was not interrupted, so that no kernel can choose another path by its alignment.
        skipped = start % self._batches_per_gather
        first, stop = (start - skipped) * self.batch_size, self._stop()
        if first >= stop:
            return
        order = permutation(self.n, self.seed, epoch)[first:stop].to(self.device)
        leaves, size = self.leaves, self.batch_size
        if self._batches_per_gather == 1:
            for rows in torch.split(order, size):
                yield tuple([leaf.index_select(0, rows) for leaf in leaves])
            return
        for rows in torch.split(order, size * self._batches_per_gather):
            gathered = zip(*[torch.split(leaf.index_select(0, rows), size) for leaf in leaves], strict=True)
            yield from islice(gathered, skipped, None) if skipped else gathered
            skipped = 0

    def _stop(self) -> int:
        return min(self.n, self.steps_per_epoch * self.batch_size)

    def first(self) -> Batch:
        """Return the first rows of the data, unshuffled."""
        return self._structure.rebuild([leaf[: self.batch_size] for leaf in self.leaves])

    def whole(self) -> Batch:
        """Return all rows as one batch, in the order of the data; the tensors are the source's own, not copies."""
        return self._structure.rebuild(self.leaves)

    def gather(self, indices: Tensor) -> Batch:
        rows = indices.to(self.device)
        return self._structure.rebuild([leaf.index_select(0, rows) for leaf in self.leaves])

    def part(self, rows: Tensor, *, shuffle: bool, drop_last: bool) -> MemorySource:
        """Return a source of the rows *rows* (a copy of them), with this one's batch size, seed and device.

        Args:
            rows: row numbers, shape **(m,)**, int64.
            shuffle: whether every epoch has an order of its own.
            drop_last: whether to leave out a last batch that is not full.
        """
        taken = [leaf.index_select(0, rows.to(self.device)) for leaf in self.leaves]
        return MemorySource(
            replace(self._structure, leaves=taken),
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=self.seed,
            device=self.device,
        )

    def rows_of(self, epoch: int, batch_index: int) -> Tensor:
        check_start(self, epoch, batch_index)
        order = permutation(self.n, self.seed, epoch) if self.shuffle else torch.arange(self.n)
        return order[: self._stop()][batch_index * self.batch_size : (batch_index + 1) * self.batch_size]

    def state(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "seed": self.seed,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        check_state(self.state(), state)

    def check(self) -> None:
        for name, leaf in zip(self.names, self.leaves, strict=True):
            check_finite(self._shown(name), leaf, self.columns.get(name, ()))
        whole = self.whole()
        if isinstance(whole, tuple) and len(whole) == 3 and isinstance(whole[2], Tensor):
            check_row_weight(whole[2])

    def _shown(self, name: str) -> str:
        """Return ``y ('price')`` for a named Series, and the bare name otherwise."""
        columns = self.columns.get(name, ())
        single = len(columns) == 1 and self.leaves[self.names.index(name)].dim() == 1
        return f"{name} ({columns[0]!r})" if single else name


def _check_rows(names: list[str], leaves: list[Tensor], movable: bool) -> None:
    """Raise unless there are arrays, all with the same number of rows, at least one, on devices that agree."""
    if not leaves:
        raise ValueError("data: no array was given; pass (X, y), a dict of arrays, or a single array.")
    for name, leaf in zip(names[1:], leaves[1:], strict=True):
        if len(leaf) != len(leaves[0]):
            raise ValueError(
                f"data: {names[0]} has {len(leaves[0])} rows, but {name} has {len(leaf)}; every array needs one row "
                "per sample."
            )
        if not movable and leaf.device != leaves[0].device:
            raise ValueError(
                f"data: {names[0]} is on {leaves[0].device}, but {name} is on {leaf.device}; pass device=… to move "
                "both."
            )
    if not len(leaves[0]):
        raise ValueError(f"data: {names[0]} has no rows, shape {tuple(leaves[0].shape)}; training needs at least one.")

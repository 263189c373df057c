"""One process's share of every batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .base import Source
from .batch import Batch

__all__ = ["RankSource", "rows_in"]


def rows_in(batch: Any) -> int:
    """Return the rows of a batch: the length of its first tensor.

    >>> import torch
    >>> rows_in((torch.zeros(3, 2), torch.zeros(3)))
    3
    """
    first = next((leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim), None)
    return 0 if first is None else len(first)


class RankSource(Source):
    """Every W-th row of each batch, from the rank's own number on.

    Order, batches per epoch and position are the whole's, so that the batches of all ranks together are those that one
    process would see, and a run can be gone on with by another number of processes. A last batch may leave a rank
    without a row: its share is then empty.

    Args:
        whole: the source that all ranks hold alike.
        rank: from 0.
        world_size: W.

    Raises:
        ValueError: a batch has fewer rows than there are ranks.

    >>> import torch
    >>> from .memory import MemorySource
    >>> whole = MemorySource((torch.arange(5.0), torch.arange(5)), batch_size=3, shuffle=False)
    >>> [x.tolist() for x, _ in RankSource(whole, 1, 2).batches(0)]
    [[1.0], [4.0]]
    """

    def __init__(self, whole: Source, rank: int, world_size: int) -> None:
        if whole.batch_size is not None and whole.batch_size < world_size:
            raise ValueError(
                f"data: batch_size={whole.batch_size} counts the rows of all processes together, and there are "
                f"{world_size}; give every process at least one row, or start fewer."
            )
        self.whole, self.rank, self.world_size = whole, rank, world_size
        self.n, self.batch_size, self.steps_per_epoch = whole.n, whole.batch_size, whole.steps_per_epoch
        self.device = whole.device

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return (self._share(batch) for batch in self.whole.batches(epoch, start))

    def _share(self, batch: Batch) -> Batch:
        rows = rows_in(batch)

        def part(leaf: Any) -> Any:
            if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == rows:
                return leaf[self.rank :: self.world_size].contiguous()
            return leaf

        shared: Batch = tree_map(part, batch)
        return shared

    def first(self) -> Batch:
        return self.whole.first()

    def state(self) -> dict[str, Any]:
        return self.whole.state()

    def load_state(self, state: dict[str, Any]) -> None:
        self.whole.load_state(state)

    def check(self) -> None:
        self.whole.check()

    def rows_of(self, epoch: int, batch_index: int) -> Tensor:
        """Return the rows of the whole batch, of all ranks together."""
        return self.whole.rows_of(epoch, batch_index)

    def gather(self, indices: Tensor) -> Batch:
        return self.whole.gather(indices)

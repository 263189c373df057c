"""A map-style Dataset, read through torch's DataLoader in an order of our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, default_collate

from .base import Source
from .batch import Batch, to_device
from .first_batch import check_batch
from .permutation import epoch_key, permutation
from .random_state import untouched
from .settings import check_settings, check_start, check_state, count_steps

__all__ = ["MapStyleSource"]


class _Positions(Sampler[list[int]]):
    """The row numbers of each batch from a position on."""

    def __init__(self, order: Tensor, batch_size: int) -> None:
        self.order = order
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        if len(self.order):
            yield from (rows.tolist() for rows in torch.split(self.order, self.batch_size))

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)


class MapStyleSource(Source):
    """Batches of any object with ``__getitem__`` and ``__len__``, collated by torch's default collation.

    The order is keyed by (seed, epoch), as for data in memory, and no global generator is touched by it; what the data
    set itself draws (augmentation) comes from the global generators, in this process. For workers, pinned memory or a
    collation of your own pass a ``DataLoader``.

    Args:
        dataset: a ``torch.utils.data.Dataset``, a list of samples, or the like.
        batch_size: rows per batch, at least 1.
        shuffle: whether every epoch has an order of its own.
        drop_last: whether to leave out a last batch that is not full.
        seed: of the order, any integer.
        device: where batches are moved; None leaves them on the CPU.

    Raises:
        ValueError: the data set is empty, or has no full batch under ``drop_last``.

    >>> source = MapStyleSource([(0.0, 1), (1.0, 0), (2.0, 1)], batch_size=2, shuffle=False)
    >>> [y.tolist() for _, y in source.batches(epoch=0)]
    [[1, 0], [1]]
    """

    n: int
    batch_size: int
    steps_per_epoch: int

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int = 64,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        check_settings("data.source", batch_size, seed)
        self.dataset = dataset
        self.n = len(dataset)
        if not self.n:
            raise ValueError(f"data: the {type(dataset).__name__} has no samples; training needs at least one.")
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.device = torch.device(device) if device is not None else None
        self.steps_per_epoch = count_steps(self.n, batch_size, drop_last)

    def _order(self, epoch: int) -> Tensor:
        order = permutation(self.n, self.seed, epoch) if self.shuffle else torch.arange(self.n)
        return order[: self.steps_per_epoch * self.batch_size]

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        check_start(self, epoch, start)
        positions = _Positions(self._order(epoch)[start * self.batch_size :], self.batch_size)
        # A DataLoader draws a seed for its workers whenever it is iterated; a generator of our own keeps that draw out
        # of the global one, so that resuming does not move it.
        generator = torch.Generator().manual_seed(epoch_key(self.seed, epoch))
        loader = DataLoader(self.dataset, batch_sampler=positions, generator=generator)
        return (to_device(batch, self.device) for batch in loader) if self.device is not None else iter(loader)

    def rows_of(self, epoch: int, batch_index: int) -> Tensor:
        check_start(self, epoch, batch_index)
        return self._order(epoch)[batch_index * self.batch_size : (batch_index + 1) * self.batch_size]

    def gather(self, indices: Tensor) -> Batch:
        return to_device(default_collate([self.dataset[row] for row in indices.tolist()]), self.device)

    def first(self) -> Batch:
        """Return the first rows of the data, unshuffled."""
        with untouched():
            return self.gather(torch.arange(min(self.n, self.batch_size)))

    def check(self) -> None:
        """Look at the first rows only: reading every sample would cost an epoch."""
        check_batch(self.first())

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

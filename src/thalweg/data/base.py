"""What every source of batches promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .batch import Batch

__all__ = ["Source"]


class Source(ABC):
    """Batches of one data set, the same ones again for the same seed and epoch.

    Attributes:
        n: samples, or None where the data do not say.
        batch_size: rows per batch, or None where a loader forms batches of its own.
        steps_per_epoch: batches per epoch (``drop_last`` counted), or None where it is unknown.
        device: where batches arrive; None leaves them where the data are.
    """

    n: int | None
    batch_size: int | None
    steps_per_epoch: int | None
    device: torch.device | None

    @abstractmethod
    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return the batches of *epoch* from batch index *start* on.

        Args:
            epoch: which epoch, from 0; another epoch has another order.
            start: the batch to begin with, 0 … ``steps_per_epoch``.
        """

    @abstractmethod
    def first(self) -> Batch:
        """Return an example batch; every random generator is afterwards as it was before."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs beside (epoch, batch index): JSON-able values and tensors, flat."""

    @abstractmethod
    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a `state`.

        Raises:
            ValueError: the state belongs to other data or other settings.
        """

    @abstractmethod
    def check(self) -> None:
        """Look for values that no training survives, before it starts.

        Raises:
            ValueError: a value is NaN or infinite, or a row weight is negative.
        """

    def rows_of(self, epoch: int, batch_index: int) -> Tensor:
        """Return the row numbers that make up a batch, shape **(B,)**, int64.

        Raises:
            TypeError: this source does not know the rows behind its batches.
        """
        raise TypeError(
            f"{type(self).__name__}.rows_of: batch {batch_index} of epoch {epoch} was asked for its rows, but a loader "
            "draws its own; pass arrays or a map-style Dataset instead of a DataLoader to know them."
        )

    def gather(self, indices: Tensor) -> Batch:
        """Return the rows *indices* as one batch.

        Args:
            indices: row numbers, shape **(B,)**, int64.

        Raises:
            TypeError: this source cannot reach single rows.
        """
        raise TypeError(
            f"{type(self).__name__}.gather: {len(indices)} rows were asked for, but a loader gives whole batches only; "
            "pass arrays or a map-style Dataset instead of a DataLoader."
        )

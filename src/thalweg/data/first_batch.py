"""The check of a single batch, for sources whose other batches are not known yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from .batch import Batch
from .finite import check_finite, check_row_weight

__all__ = ["check_batch", "tensors_of"]


def tensors_of(batch: Batch, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) for every tensor in a batch: ``x``, ``y``, ``x[0]``, ``input_ids``.

    >>> import torch
    >>> [name for name, _ in tensors_of((torch.ones(1), {"a": torch.ones(1)}))]
    ['x', "y['a']"]
    """
    if isinstance(batch, Tensor):
        yield name or "x", batch
    elif isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from tensors_of(value, f"{name}[{key!r}]" if name else str(key))
    elif isinstance(batch, (tuple, list)):
        top = ("x", "y", "row_weight")
        for i, value in enumerate(batch):
            yield from tensors_of(value, f"{name}[{i}]" if name else top[i] if len(batch) <= 3 else f"part {i}")


def check_batch(batch: Batch) -> None:
    """Raise if the first batch holds NaN, an infinity or a negative row weight.

    Raises:
        ValueError: with the tensor, the row and the column.
    """
    for name, tensor in tensors_of(batch):
        if tensor.dim():
            check_finite(name, tensor, place="the first batch, ")
    if isinstance(batch, (tuple, list)) and len(batch) == 3 and isinstance(batch[2], Tensor):
        check_row_weight(batch[2], place="the first batch, ")

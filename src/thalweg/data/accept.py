"""The one entrance: whatever a user holds becomes a `Source`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from .base import Source
from .convert import is_array
from .loader import LoaderSource
from .map_style import MapStyleSource
from .memory import MemorySource

__all__ = ["source"]


def source(
    obj: Any,
    *,
    batch_size: int = 64,
    shuffle: bool = True,
    drop_last: bool = False,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Source:
    """Return a source of batches for *obj*.

    =============================================  ==================================================================
    *obj*                                          served
    =============================================  ==================================================================
    tensors, NumPy arrays, pandas, Arrow; tuples   from memory, one gather per batch (`MemorySource`)
    and dicts of them; ``TensorDataset``, its
    ``Subset``
    another map-style ``Dataset``, a list of       through a ``DataLoader`` in our order (`MapStyleSource`)
    samples
    ``DataLoader``, an iterable of batches         as it is (`LoaderSource`): its own batch size, order and workers;
                                                   the settings here are not used, except *device*
    ``IterableDataset``                            through a ``DataLoader`` of *batch_size* in its own order
    a `Source`                                     itself
    =============================================  ==================================================================

    Args:
        obj: the data.
        batch_size: rows per batch, at least 1.
        shuffle: whether every epoch has an order of its own.
        drop_last: whether to leave out a last batch that is not full.
        seed: of the order, any integer.
        device: where batches arrive; None leaves them where the data are.

    Raises:
        TypeError: *obj* is no data: a generator, a path, a list of arrays, numbers of no known kind.
        ValueError: it has no rows, or its arrays differ in length.

    >>> source((torch.zeros(100, 3), torch.zeros(100)), batch_size=32).steps_per_epoch
    4
    """
    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "shuffle": shuffle,
        "drop_last": drop_last,
        "seed": seed,
        "device": device,
    }
    if isinstance(obj, Source):
        return obj
    if isinstance(obj, DataLoader):
        return LoaderSource(obj, device=device)
    if isinstance(obj, IterableDataset):
        return LoaderSource(DataLoader(obj, batch_size=batch_size, drop_last=drop_last), device=device)
    tensors = _tensors(obj)
    if tensors is not None:
        return MemorySource(tensors, **settings)
    if is_array(obj) or isinstance(obj, (tuple, Mapping)):
        return MemorySource(obj, **settings)
    if isinstance(obj, list):
        return _list_source(obj, settings)
    _refuse(obj)
    if hasattr(obj, "__getitem__") and hasattr(obj, "__len__"):
        return MapStyleSource(obj, **settings)
    if hasattr(obj, "__iter__"):
        return LoaderSource(obj, device=device)
    raise TypeError(f"data.source: got {obj!r}, a {type(obj).__name__}, which holds no samples; {_KINDS}")


_KINDS = "pass (X, y) as tensors, NumPy arrays or tables, a dict of arrays, a Dataset or a DataLoader."


def _tensors(obj: Any) -> tuple[Tensor, ...] | None:
    """Return the tensors of a TensorDataset, or of a Subset of one; None for anything else."""
    if isinstance(obj, TensorDataset):
        return obj.tensors
    if isinstance(obj, Subset):
        inner = _tensors(obj.dataset)
        if inner is not None:
            return tuple(tensor[torch.as_tensor(list(obj.indices), device=tensor.device)] for tensor in inner)
    return None


def _list_source(obj: list[Any], settings: dict[str, Any]) -> Source:
    """Serve a list of numbers as an array, and a list of samples as torch's DataLoader would."""
    if obj and all(isinstance(sample, (tuple, Mapping)) for sample in obj):
        return MapStyleSource(obj, **settings)
    if any(is_array(item) or isinstance(item, (tuple, Mapping)) for item in obj):
        raise TypeError(
            f"data.source: a list of {len(obj)} arrays may mean several inputs, (X, y), or samples; write a tuple, "
            "(X, y) or ((x1, x2), y), for the former, and torch.stack(list) or a list of tuples (x, y) for the latter."
        )
    return MemorySource(obj, **settings)


def _refuse(obj: Any) -> None:
    """Raise for what looks like data but cannot be read, or not again."""
    if isinstance(obj, (str, bytes, Path)):
        raise TypeError(
            f"data.source: got the path {str(obj)!r}, but training takes data; read it first, for example with "
            "thalweg.data.read_table(path, target='column')."
        )
    if isinstance(obj, Iterator):
        raise TypeError(
            f"data.source: got a {type(obj).__name__}, which can be read only once, but training reads the data once "
            "per epoch; pass list(samples), arrays, or an IterableDataset, whose __iter__ begins anew."
        )
    if hasattr(obj, "train") and hasattr(obj, "valid") and hasattr(obj, "test"):
        raise TypeError(
            "data.source: got a whole data set with its train, valid and test parts; pass one part, such as data.train."
        )

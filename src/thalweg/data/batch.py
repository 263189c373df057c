"""What a batch means to a model: its arguments, its target and its row weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Batch", "Split", "split", "to_device"]

Batch = Any
"""A tensor, or tuples, lists and mappings of tensors: the structure that the user gave."""


class Split(NamedTuple):
    """The parts of a batch: ``output = model(*args, **kwargs)``, then ``loss(output, target, row_weight)``.

    Attributes:
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        target: what the output is compared with, or None where the batch holds none.
        row_weight: one weight per row, shape **(B,)**, or None.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Any
    row_weight: Any


def split(batch: Batch) -> Split:
    """Return a batch's arguments for the model, its target and its row weights.

    ==========================  =====================================================
    batch                       call
    ==========================  =====================================================
    ``x`` or ``(x,)``           ``model(x)``, no target
    ``(x, y)``                  ``model(x)``, target ``y``
    ``(x, y, w)``               ``model(x)``, target ``y``, row weights ``w`` (Keras' order)
    ``((x1, x2), y)``           ``model(x1, x2)``, target ``y``
    ``({"a": a}, y)``           ``model(a=a)``, target ``y``
    ``{"a": a, "labels": y}``   ``model(a=a)``, target ``y`` (Hugging Face's name)
    ==========================  =====================================================

    Lists count as tuples, because torch's default collation turns tuples into lists.

    Args:
        batch: what a source yields; every tensor has the **(B, …)** rows of one batch.

    Raises:
        ValueError: a tuple of more than three parts, or of none.

    >>> split(({"a": 1}, 2))
    Split(args=(), kwargs={'a': 1}, target=2, row_weight=None)
    >>> split({"input_ids": 1, "labels": 2})
    Split(args=(), kwargs={'input_ids': 1}, target=2, row_weight=None)
    """
    if type(batch) is tuple and len(batch) == 2 and type(batch[0]) is Tensor:
        return Split((batch[0],), {}, batch[1], None)  # the usual batch, before the slow questions
    if isinstance(batch, Mapping):
        rest = {str(key): value for key, value in batch.items() if key != "labels"}
        return Split((), rest, batch.get("labels"), None)
    if not isinstance(batch, (tuple, list)):
        return Split((batch,), {}, None, None)
    if not 1 <= len(batch) <= 3:
        raise ValueError(
            f"data.split: a batch of {len(batch)} parts arrived, but a batch is (x,), (x, y) or (x, y, row_weight); "
            "give several inputs as one part, ((x1, x2), y), or as a dict with 'labels'."
        )
    x, y, row_weight = (*batch, None, None)[:3]
    if isinstance(x, Mapping):
        return Split((), {str(key): value for key, value in x.items()}, y, row_weight)
    return Split(tuple(x) if isinstance(x, (tuple, list)) else (x,), {}, y, row_weight)


def map_tensors(function: Callable[[Tensor], Tensor], batch: Batch) -> Batch:
    """Return *batch* with *function* applied to its tensors; anything else with a ``.to`` stays as it is."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(function, part) for part in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(map_tensors(function, part) for part in batch)
    if isinstance(batch, dict):
        return {key: map_tensors(function, value) for key, value in batch.items()}
    return batch


def to_device(batch: Batch, device: torch.device | None) -> Batch:
    """Return *batch* on *device*; None leaves it where it is.

    Copies to CUDA are asynchronous where the tensors are pinned. Objects that are no tensors but have a ``.to`` (a
    tokenizer's ``BatchEncoding``, a packed sequence, a graph) are moved with it.

    >>> to_device({"x": torch.ones(2), "name": "a"}, torch.device("cpu"))
    {'x': tensor([1., 1.]), 'name': 'a'}
    """
    if device is None:
        return batch
    if not isinstance(batch, (Tensor, tuple, list, dict)) and hasattr(batch, "to"):
        return batch.to(device)
    non_blocking = device.type == "cuda"
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking), batch)

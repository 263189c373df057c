"""What a batch looks like, for whoever draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .base import Source
from .batch import split
from .first_batch import tensors_of
from .memory import MemorySource

__all__ = ["Description", "Part", "describe"]

Kind = Literal["images", "table", "tokens", "other"]


@dataclass(frozen=True)
class Part:
    """One tensor of a batch.

    Attributes:
        name: as in messages: ``x``, ``y``, ``x[0]``, ``input_ids``.
        shape: of one row, without the batch dimension.
        dtype: torch's name of it, such as ``float32``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Description:
    """What a batch looks like.

    Attributes:
        kind: ``images``, ``table``, ``tokens``, or ``other`` where none of these can be told.
        parts: every tensor of the batch.
        image_shape: (channels, height, width) of a row where *kind* is ``images``, to reshape flat rows with.
        classes: names of the classes, or empty.
        feature_names: names of a table's columns, or empty.
    """

    kind: Kind
    parts: tuple[Part, ...]
    image_shape: tuple[int, int, int] | None
    classes: tuple[str, ...]
    feature_names: tuple[str, ...]


def describe(
    source: Source,
    *,
    classes: Sequence[str] = (),
    feature_names: Sequence[str] = (),
    image_shape: tuple[int, int, int] | None = None,
) -> Description:
    """Return what the batches of *source* look like; no randomness is consumed.

    The first input decides: with *image_shape*, or **(B, C, H, W)** with 1, 3 or 4 channels, or **(B, H, W)** of uint8,
    it is images; integers **(B, T)** are tokens; numbers **(B,)** or **(B, p)** a table. Flat rows are never guessed to
    be images.

    Args:
        source: the data.
        classes: names of the classes 0 … C−1, where they are known.
        feature_names: names of a table's columns; a DataFrame's are known already.
        image_shape: (channels, height, width) of rows that are images but flat.

    Raises:
        ValueError: *image_shape* does not hold as many numbers as a row.

    >>> import torch
    >>> from thalweg.data import source
    >>> describe(source((torch.zeros(8, 3, 32, 32), torch.zeros(8, dtype=torch.int64)))).kind
    'images'
    """
    batch = source.first()
    named = list(tensors_of(batch))
    parts = tuple(
        Part(name, tuple(tensor.shape[1:]), str(tensor.dtype).removeprefix("torch.")) for name, tensor in named
    )
    args, kwargs, _, _ = split(batch)
    x = next((tensor for _, tensor in tensors_of((*args, *kwargs.values()))), None)
    if x is None:
        return Description("other", parts, None, tuple(classes), ())
    if image_shape is not None:
        channels, height, width = image_shape
        if x[0].numel() != channels * height * width:
            raise ValueError(
                f"data.describe: image_shape={image_shape} has {channels * height * width} numbers, but a row of shape "
                f"{tuple(x.shape[1:])} has {x[0].numel()}; give the (channels, height, width) of a row."
            )
        return Description("images", parts, image_shape, tuple(classes), ())
    kind, found = _kind_of(x)
    names = tuple(feature_names)
    if kind == "table" and not names and isinstance(source, MemorySource):
        names = next(iter(source.columns.values()), ()) if named[0][0] in source.columns else ()
    return Description(kind, parts, found, tuple(classes), names if kind == "table" else ())


def _kind_of(x: Tensor) -> tuple[Kind, tuple[int, int, int] | None]:
    integers = not (x.is_floating_point() or x.is_complex())
    if x.dim() == 4 and x.shape[1] in (1, 3, 4):
        return "images", (x.shape[1], x.shape[2], x.shape[3])
    if x.dim() == 3 and x.element_size() == 1:
        return "images", (1, x.shape[1], x.shape[2])
    if x.dim() == 2 and integers:
        return "tokens", None
    return ("table", None) if x.dim() in (1, 2) else ("other", None)

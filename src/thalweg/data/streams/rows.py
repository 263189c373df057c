"""What a row of a stream holds, and buffers for many of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Layout", "Rows", "cut", "take", "tensors"]

Array = NDArray[Any]


class Rows(NamedTuple):
    """Arrays of m rows: x **(m, D)**, y **(m,)** or **(m, K)** or None, w **(m,)** or None."""

    x: Array
    y: Array | None
    w: Array | None


@dataclass(frozen=True)
class Layout:
    """What a row holds and in which types.

    Attributes:
        features: the names of the D columns of x.
        targets: None where there is no target, 0 where it is one number per row, K where it is K columns.
        weighted: whether every row has a weight.
        dtype: of x and w.
        target_dtype: of y: int64 where the files hold integers or bools there (class numbers), else *dtype*.
        shape: of one row of x where that is not **(D,)** (images in a ``.npy`` file).
    """

    features: tuple[str, ...]
    targets: int | None
    weighted: bool
    dtype: np.dtype[Any]
    target_dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        target = 0 if self.targets is None else max(1, self.targets) * self.target_dtype.itemsize
        return (len(self.features) + self.weighted) * self.dtype.itemsize + target

    def empty(self, count: int) -> Rows:
        """Return buffers of *count* rows, aligned as torch's own tensors are."""
        x = _empty((count, len(self.features)), self.dtype)
        y = None
        if self.targets is not None:
            y = _empty((count, self.targets) if self.targets else (count,), self.target_dtype)
        return Rows(x, y, _empty((count,), self.dtype) if self.weighted else None)


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    names = {"float32": torch.float32, "float64": torch.float64, "int64": torch.int64}
    array: Array = torch.empty(shape, dtype=names[dtype.name]).numpy()
    return array


def cut(rows: Rows, start: int, stop: int) -> Rows:
    """Return the rows *start* … *stop* − 1 as views."""
    return Rows(
        rows.x[start:stop],
        None if rows.y is None else rows.y[start:stop],
        None if rows.w is None else rows.w[start:stop],
    )


def take(rows: Rows, index: Array, into: Rows) -> None:
    """Copy the rows *index* of *rows* to *into*."""
    for source, target in zip(rows, into, strict=True):
        if source is not None and target is not None:
            # With mode="raise" NumPy would buffer the result before it writes it to `out`.
            np.take(source, index, axis=0, out=target, mode="clip")


def tensors(rows: Rows, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Return *rows* as a batch, ``(x,)``, ``(x, y)`` or ``(x, y, w)``, with rows of x in *shape*; nothing is copied.

    A weight without a target has no place in a batch; `stream` refuses it.
    """
    x = torch.from_numpy(rows.x)
    if len(shape) != 1:
        x = x.view(len(rows.x), *shape) if math.prod(shape) else x
    return (x, *(torch.from_numpy(part) for part in rows[1:] if part is not None))

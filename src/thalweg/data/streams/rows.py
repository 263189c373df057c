"""What a row of a stream holds, and buffers for many of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .kernels import KERNELS

__all__ = ["Layout", "Rows", "aligned", "cut", "is_finite", "take", "tensors"]

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

    def size(self, count: int) -> int:
        """Return the bytes that `over` needs for *count* rows: each array begins at a multiple of 64 bytes."""
        return sum(_padded(math.prod(shape) * dtype.itemsize) for shape, dtype in self._arrays(count) if shape)

    def over(self, memory: Array, count: int) -> Rows:
        """Return *count* rows in *memory*, bytes that begin at a multiple of 64."""
        found: list[Any] = []
        offset = 0
        for shape, dtype in self._arrays(count):
            found.append(np.ndarray(shape, dtype, memory.data, offset) if shape else None)
            offset += _padded(math.prod(shape) * dtype.itemsize) if shape else 0
        return Rows(*found)

    def empty(self, count: int) -> Rows:
        """Return *count* rows of their own."""
        return self.over(aligned(self.size(count)), count)

    def _arrays(self, count: int) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return shape and type of x, y and w; () for what is not there."""
        target = () if self.targets is None else (count, self.targets) if self.targets else (count,)
        return [
            ((count, len(self.features)), self.dtype),
            (target, self.target_dtype),
            ((count,) if self.weighted else (), self.dtype),
        ]


def _padded(size: int) -> int:
    return -(-size // 64) * 64


def aligned(size: int) -> NDArray[np.uint8]:
    """Return *size* bytes that begin at a multiple of 64, as torch's own tensors do."""
    raw = np.empty(size + 64, np.uint8)
    shift = -raw.ctypes.data % 64
    return raw[shift : shift + size]


def cut(rows: Rows, start: int, stop: int) -> Rows:
    """Return the rows *start* … *stop* − 1 as views."""
    return Rows(
        rows.x[start:stop],
        None if rows.y is None else rows.y[start:stop],
        None if rows.w is None else rows.w[start:stop],
    )


def take(rows: Rows, index: Array, into: Rows) -> None:
    """Copy the rows *index* of *rows* to *into*."""
    run = KERNELS.take_rows
    if run is not None and rows.w is None and run(rows.x, rows.y, index, into.x, into.y) is not None:
        return
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


def is_finite(values: Array) -> bool:
    """Return whether no value is NaN or infinite: both show in the extremes.

    NumPy's reductions run on one thread; torch's would start a pool of threads of their own on a reading thread.
    """
    if values.dtype.kind != "f" or not values.size:
        return True
    return math.isfinite(values.min()) and math.isfinite(values.max())

"""Rows in large blocks, from memory or from a stream, and the search for values that no sum survives."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from thalweg.data import StreamSource

__all__ = [
    "Array",
    "ArrayBlocks",
    "Block",
    "Blocks",
    "StreamBlocks",
    "as_tensor",
    "blocks_of",
    "check_block",
    "column_means",
    "name_bad_value",
]

Array = npt.NDArray[Any]
Block = tuple[Array, Array, Array | None]
"""Features **(b, p)**, targets **(b,)** or **(b, t)**, row weights **(b,)** or None; valid until the next block."""


@runtime_checkable
class Blocks(Protocol):
    """What a stream offers: one sequential pass over all rows, in large blocks."""

    def blocks(self) -> Iterator[Block]:
        """Return the blocks of one pass; a block's arrays may be overwritten by the next."""
        ...


class ArrayBlocks:
    """Arrays in memory as blocks: slices, no copies.

    Args:
        X: features **(n, p)**.
        y: targets **(n,)** or **(n, t)**.
        w: row weights **(n,)**, or None.
        rows: rows per block.

    >>> [block[0].shape for block in ArrayBlocks(np.zeros((5, 2)), np.zeros(5), rows=3).blocks()]
    [(3, 2), (2, 2)]
    """

    def __init__(self, X: Array, y: Array, w: Array | None = None, rows: int = 1 << 16) -> None:
        self.X, self.y, self.w, self.rows = X, y, w, rows
        self.n = len(X)
        self.feature_names: Sequence[str] | None = None

    def blocks(self) -> Iterator[Block]:
        for start in range(0, self.n, self.rows):
            here = slice(start, start + self.rows)
            yield self.X[here], self.y[here], None if self.w is None else self.w[here]


class StreamBlocks:
    """A stream as blocks; NaN and infinities are seen in the sums, and looked for only then.

    Args:
        source: a stream with a target.
        who: who asks, for messages.

    Raises:
        ValueError: the stream has no target.
    """

    def __init__(self, source: StreamSource, who: str) -> None:
        self.source = source
        self.who = who
        self.n = source.n
        self.feature_names: Sequence[str] | None = source.feature_names

    def blocks(self) -> Iterator[Block]:
        for X, y, w in self.source.blocks(check=False):
            if y is None:
                raise ValueError(self._no_target())
            yield X, y, w

    def _no_target(self) -> str:
        return f"{self.who}: the stream has no target, and a fit needs one; name it: tw.data.stream(…, target=…)."

    def head(self, rows: int) -> Block:
        """Return the first rows alone."""
        X, y, w = self.source.head(rows)
        if y is None:
            raise ValueError(self._no_target())
        return X, y if y.dtype.kind == "f" else y.astype(X.dtype), w

    def check_values(self) -> None:
        """Raise for the first NaN or infinity, with its file; reads the rows again."""
        self.source.check_values()


def blocks_of(data: object, who: str) -> Blocks:
    """Return *data* as blocks: a stream itself, or a tuple of arrays ``(X, y)`` or ``(X, y, w)``.

    Raises:
        TypeError: neither of them.
        ValueError: arrays of different lengths, or none with rows.
    """
    if isinstance(data, StreamSource):
        return StreamBlocks(data, who)
    if isinstance(data, Blocks):
        return data
    if isinstance(data, tuple) and len(data) in (2, 3) and all(hasattr(part, "__len__") for part in data):
        arrays = [np.asarray(part) for part in data]
        lengths = [len(array) for array in arrays]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise ValueError(
                f"{who}: the arrays have {lengths} rows; every array needs one row per sample, and at least one."
            )
        return ArrayBlocks(arrays[0], arrays[1], arrays[2] if len(arrays) == 3 else None)
    raise TypeError(
        f"{who}: got a {type(data).__name__}, which gives no blocks of rows; pass tw.data.stream(...), or arrays as "
        "(X, y)."
    )


def as_tensor(array: Array) -> Tensor:
    """Return float32 and float64 arrays as tensors on the same memory, which is only read; others as float64."""
    if array.dtype not in (np.float32, np.float64) or any(step < 0 for step in array.strides):
        array = np.ascontiguousarray(array, dtype=np.float64)
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():  # torch warns of writing to memory that is read-only; nothing here writes
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def column_means(X: Array, y: Array, w: Array | None) -> Array:
    """Return the columns' means of a block, X's then y's, **(p + t,)**, float64, of its first 8,192 rows."""
    X, y = X[: 1 << 13], y[: 1 << 13]
    weights = None if w is None else w[: 1 << 13].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinities are found, and named, in the sums
        if weights is None or not weights.any():
            return np.concatenate([X.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)])
        return np.concatenate([np.average(part.astype(np.float64), axis=0, weights=weights) for part in (X, y)])


def check_block(who: str, block: Block, features: int | None, targets: int | None, offset: int) -> Block:
    """Return a block with y as **(b, t)**, after comparing its shapes with the blocks before.

    Args:
        who: who asks, for messages.
        block: as it came.
        features: columns of the blocks before, or None for the first.
        targets: targets of the blocks before, or None for the first.
        offset: rows before this block.

    Raises:
        ValueError: the shapes do not fit, a weight is negative, or the numbers are complex or no numbers at all.
    """
    X, y, w = block
    if X.ndim != 2:
        raise ValueError(f"{who}: a block of features has shape {X.shape}, but must be (rows, features).")
    y = y.reshape(-1, 1) if y.ndim == 1 else y
    if y.ndim != 2 or len(y) != len(X) or (w is not None and w.shape != (len(X),)):
        raise ValueError(
            f"{who}: from row {offset} on, {len(X)} rows of features arrived with targets of shape {y.shape} and "
            f"weights of shape {None if w is None else w.shape}; every row needs its target, and one weight or none."
        )
    if X.dtype.kind not in "fiub" or y.dtype.kind not in "fiub":
        raise ValueError(
            f"{who}: features of {X.dtype} and targets of {y.dtype} arrived, but sums take real numbers; convert them."
        )
    if features is not None and X.shape[1] != features:
        raise ValueError(
            f"{who}: X has {X.shape[1]} features from row {offset} on, but is expecting {features} features as input, "
            "as in the rows before; let every block have the same columns."
        )
    if targets is not None and y.shape[1] != targets:
        raise ValueError(
            f"{who}: {y.shape[1]} targets arrived from row {offset} on, but {targets} in the rows before; let every "
            "block have the same targets."
        )
    if w is not None and len(w) and w.min() < 0:
        row = int(np.argmax(w < 0))
        raise ValueError(
            f"{who}: the weight of row {offset + row} is {w[row]:g}, but a weight says how often a row counts; give "
            "weights >= 0."
        )
    return X, y, w


def name_bad_value(who: str, block: Block, names: Sequence[str] | None, offset: int) -> None:
    """Raise for the first NaN or infinity of a block, naming its row and column; return where there is none.

    Args:
        who: who asks, for messages.
        block: features, targets, weights.
        names: of the columns, or None.
        offset: rows before this block.

    Raises:
        ValueError: with the row, the column and the value.

    >>> name_bad_value("fit", (np.array([[1.0, np.nan]]), np.array([1.0]), None), ["age", "size"], offset=10)
    Traceback (most recent call last):
    ...
    ValueError: fit: X is nan in row 10, column 'size'; NaN and infinity (inf) have no place in a sum: fill the value
    or drop its row.
    """
    for name, values in zip(("X", "y", "sample_weight"), block, strict=True):
        if values is None or values.dtype.kind != "f":
            continue
        finite = np.isfinite(values)
        if finite.all():
            continue
        row, *rest = (int(index) for index in np.argwhere(~finite)[0])
        column = ""
        if rest and name == "X":
            column = f", column {names[rest[0]]!r}" if names is not None else f", column {rest[0]}"
        raise ValueError(
            f"{who}: {name} is {values[(row, *rest)]} in row {offset + row}{column}; NaN and infinity (inf) have no "
            "place in a sum: fill the value or drop its row."
        )

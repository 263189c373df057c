"""The one entrance to files on disk: paths become a `StreamSource`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from .arrow_table import arrow_table
from .files import WHO, find_files, format_of
from .npy_table import npy_table
from .order import Shuffle
from .size import parse_size
from .source import StreamSource
from .table import RowTable

__all__ = ["stream"]

_DTYPES: dict[torch.dtype, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


def stream(
    paths: Any,
    *,
    target: Any = None,
    columns: Any = None,
    weight: Any = None,
    filter: Any = None,
    batch_size: int = 4096,
    shuffle: Shuffle = "block",
    drop_last: bool = False,
    seed: int = 0,
    memory: int | str = "512 MiB",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    rank: int | None = None,
    world_size: int | None = None,
) -> StreamSource:
    """Return batches of files on disk, larger than memory or not, as a source that a learner takes like any data.

    =====================  ==============================================================================
    format                 endings
    =====================  ==============================================================================
    NumPy                  ``.npy``: an array **(n, D)**, or **(n, …)** without columns to choose
    Parquet                ``.parquet``, ``.pq``; folders with ``key=value`` parts in their names
    Arrow IPC              ``.arrow``, ``.feather``, ``.ipc``, ``.arrows``
    CSV                    ``.csv``, ``.tsv`` with a line of names
    =====================  ==============================================================================

    Args:
        paths: a file, a folder, a pattern (``data/*.npy``), an fsspec URL, or a list of them; one format. Their rows
            follow each other in the order given, those of a folder or pattern in the order of the names.
        target: what is predicted. A column by name (by number or slice in ``.npy``), several as a list, or a second
            ``.npy`` path (as many as there are *paths*). None: batches are x alone.
        columns: the features; None takes all columns that are neither target nor weight.
        weight: a column of row weights >= 0; in ``.npy`` a number, or a path.
        filter: which rows: a ``pyarrow.compute`` expression, or ``[("price", ">", 0), …]``, all of which must hold.
            Not for ``.npy``.
        batch_size: rows per batch, of all ranks together.
        shuffle: ``"block"``: blocks in random order, the rows of 32 blocks (of 24 KiB in local ``.npy``, else larger)
            permuted together; ``"full"``: a random permutation of all rows, for files in which single rows can be
            reached; False: as they lie.
        drop_last: whether to leave out a last batch that is not full.
        seed: of the order, any integer.
        memory: what the buffers may take, as ``"512 MiB"`` or in bytes.
        dtype: of x, of the weights and of a target that holds fractions: float32 or float64.
        device: where batches arrive.
        rank: which of *world_size* processes this is; both are found under ``torchrun``.
        world_size: how many processes share the batches.

    Returns:
        A `StreamSource` of ``x``, ``(x, y)`` or ``(x, y, w)``: x **(B, D)**, y **(B,)** for one target column and
        **(B, K)** for several, int64 where the columns hold integers; w **(B,)**.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is empty, truncated or of another format, a column is unknown, misses in a file or misses
            values, or the settings do not fit the format.
        TypeError: a column holds no numbers.
        ImportError: pyarrow or fsspec is needed and not installed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = np.array([[0.0, 1.0, 10.0], [2.0, 3.0, 20.0], [4.0, 5.0, 30.0]])
    ...     np.save(f"{folder}/rows.npy", rows)
    ...     source = stream(f"{folder}/rows.npy", target=-1, batch_size=2, shuffle=False)
    ...     [(x.tolist(), y.tolist()) for x, y in source.batches(epoch=0)]
    [([[0.0, 1.0], [2.0, 3.0]], [10.0, 20.0]), ([[4.0, 5.0]], [30.0])]
    """
    if shuffle not in ("block", "full", False):
        raise ValueError(
            f"{WHO}: shuffle={shuffle!r} is no order; choose 'block' (fast, random within blocks), 'full' (a random "
            "permutation of all rows) or False."
        )
    if dtype not in _DTYPES:
        raise ValueError(f"{WHO}: dtype={dtype!r} is not read from files; choose torch.float32 or torch.float64.")
    budget = parse_size(WHO, "memory", memory)
    table = _table(paths, target, columns, weight, filter, _DTYPES[dtype])
    return StreamSource(
        table,
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=drop_last,
        seed=seed,
        memory=budget,
        device=device,
        rank=rank,
        world_size=world_size,
    )


def _table(paths: Any, target: Any, columns: Any, weight: Any, filter: Any, dtype: np.dtype[Any]) -> RowTable:
    files = find_files(paths)
    kinds = {file.path: format_of(file.path) for file in files}
    for path, kind in kinds.items():
        if kind is None:
            raise ValueError(
                f"{WHO}: {path} ends in {Path(path).suffix or 'nothing'!r}, so that its format is not known; give "
                ".npy, .parquet, .csv, .tsv, .arrow or .feather files."
            )
    first, kind = next(iter(kinds.items()))
    for path, other in kinds.items():
        if other != kind:
            raise ValueError(
                f"{WHO}: {first} is {kind} and {path} is {other}, but a stream is of one format; give the files of one."
            )
    if kind == "npy":
        return npy_table(files, target, columns, weight, filter, dtype)
    return arrow_table(files, str(kind), target, columns, weight, filter, dtype)

"""Results as Parquet: one row per point with its coordinates, and what is no column in the table's description."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import write_whole

__all__ = ["read_table", "write_table"]

_KEY = b"thalweg"

Arrays = Mapping[str, NDArray[Any]]


def write_table(path: Path, arrays: Arrays, axes: Sequence[str], document: Mapping[str, Any]) -> None:
    """Write one row per point of the grid that *axes* span.

    Arrays of the grid's shape and the axes themselves become columns; all others, and the JSON-able *document*, go into
    the description of the table, where every digit of them is kept.

    Args:
        path: of the file.
        arrays: by name.
        axes: for each dimension of the grid the array of its coordinates.
        document: plain data.

    Raises:
        ImportError: pyarrow is not installed.
    """
    pyarrow, parquet = _arrow(path)
    lengths = tuple(len(arrays[name]) for name in axes)
    columns = dict(zip(axes, np.meshgrid(*(arrays[name] for name in axes), indexing="ij"), strict=True))
    columns |= {name: array for name, array in arrays.items() if array.shape == lengths and name not in axes}
    others = {name: array for name, array in arrays.items() if name not in columns}
    described = {
        "axes": {name: len(arrays[name]) for name in axes},
        "others": {
            name: [str(array.dtype), list(array.shape), array.ravel().tolist()] for name, array in others.items()
        },
        "document": document,
    }
    table = pyarrow.table({name: column.ravel() for name, column in columns.items()})
    table = table.replace_schema_metadata({_KEY: json.dumps(described).encode()})
    write_whole(path, lambda temporary: parquet.write_table(table, temporary))


def read_table(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return (arrays, document) that :func:`write_table` wrote.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: the file is no such table.
    """
    pyarrow, parquet = _arrow(path)
    if not path.exists():
        raise FileNotFoundError(f"No such file: {path}")
    try:
        table = parquet.read_table(path)
        described = json.loads((table.schema.metadata or {})[_KEY])
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    lengths = tuple(described["axes"].values())
    arrays = {name: table[name].to_numpy().reshape(lengths) for name in table.column_names}
    for place, name in enumerate(described["axes"]):
        along = tuple(slice(None) if other == place else 0 for other in range(len(lengths)))
        arrays[name] = arrays[name][along].copy()
    for name, (dtype, shape, values) in described["others"].items():
        arrays[name] = np.asarray(values, dtype=dtype).reshape(shape)
    return arrays, described["document"]


def _arrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"surface: {path} needs pyarrow; install thalweg[data], or give a name in .npz.") from error
    return pyarrow, pyarrow.parquet

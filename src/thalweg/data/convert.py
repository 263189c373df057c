"""One array of any library as one tensor; the only place that decides about dtypes.

=====================================  ==========
arrives (NumPy, pandas, Arrow, lists)  becomes
=====================================  ==========
float64, long double                   float32, as torch's parameters are
float16, float32                       itself
integers of any width                  int64
bool                                   bool
complex                                complex64
strings, objects, dates, categories    refused by name
=====================================  ==========

torch tensors are left as they are: who made a tensor chose its dtype.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["is_array", "to_tensor"]

Columns = tuple[str, ...]

_ADVICE = {
    "O": "objects",
    "U": "strings",
    "S": "byte strings",
    "M": "dates",
    "m": "time spans",
    "V": "structured records",
}
_ENCODE = "encode them as numbers first (classes as 0 … C−1, for example with pandas.factorize)"


def is_array(value: Any) -> bool:
    """Return whether *value* is one array: a tensor, a NumPy array, a pandas or Arrow object."""
    if isinstance(value, (Tensor, np.ndarray)):
        return True
    return _pandas_kind(value) is not None or _speaks_arrow(value)


def to_tensor(value: Any, name: str) -> tuple[Tensor, Columns]:
    """Return *value* as a tensor of rows, **(n, …)**, and its column names where it has any.

    Memory is shared where nothing has to be converted.

    Args:
        value: a tensor, NumPy array, pandas DataFrame, Series or Index, Arrow table or array, or a list of numbers.
        name: what messages call it.

    Raises:
        TypeError: its values are no numbers; the message names the column.
        ValueError: it has no rows to index, misses values in an integer column, or does not fit int64.

    >>> to_tensor([[0.5, 1.0]], "x")
    (tensor([[0.5000, 1.0000]]), ())
    """
    kind = _pandas_kind(value)
    columns: Columns = ()
    if isinstance(value, Tensor):
        tensor = _from_torch(value, name)
    elif isinstance(value, np.ndarray):
        tensor = _from_numpy(value, name)
    elif kind == "DataFrame":
        tensor, columns = _from_frame(value, name)
    elif kind is not None:
        tensor, columns = _from_series(value, name)
    elif _speaks_arrow(value):
        tensor, columns = _from_arrow(value, name)
    else:
        tensor = _from_list(value, name)
    if tensor.dim() == 0:
        raise ValueError(f"data: {name} is a single number, not rows; give it at least one dimension, (n, …).")
    return tensor, columns


def _from_torch(tensor: Tensor, name: str) -> Tensor:
    if tensor.layout != torch.strided:
        raise TypeError(
            f"data: {name} is a tensor of layout {tensor.layout}, but rows are gathered from strided memory; "
            "call .to_dense(), or serve it through a DataLoader."
        )
    return tensor.detach()


def _from_numpy(array: np.ndarray[Any, Any], name: str) -> Tensor:
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.is_masked(array):
            raise ValueError(f"data: {name} is a masked array with masked values; fill them or drop their rows.")
        array = array.data
    kind = array.dtype.kind
    if kind in _ADVICE:
        raise TypeError(f"data: {name} holds {_ADVICE[kind]} (dtype {array.dtype}), which no model takes; {_ENCODE}.")
    dtype = array.dtype.newbyteorder("=")
    if kind == "f" and dtype.itemsize > 4:
        dtype = np.dtype(np.float32)
    elif kind == "c":
        dtype = np.dtype(np.complex64)
    elif kind in "iu":
        if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise ValueError(f"data: {name} holds integers above 2**63 − 1, which int64 cannot; pass them as floats.")
        dtype = np.dtype(np.int64)
    with np.errstate(over="ignore"):  # float64 beyond float32's range becomes inf, which `check` reports with its row
        array = np.ascontiguousarray(array, dtype=dtype) if array.ndim else array.astype(dtype)
    # torch cannot mark memory as read-only and warns; a copy keeps the user's array from being written through.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _from_list(value: Any, name: str) -> Tensor:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"data: {name} is a list whose rows differ in length ({error}); pad them to one length, or collate them in "
            "a DataLoader."
        ) from None
    return _from_numpy(array, name)


def _pandas_kind(value: Any) -> str | None:
    """Return "DataFrame", "Series" or "Index" without importing pandas: who holds one has imported it."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    kinds = ("DataFrame", "Series", "Index")
    return next((kind for kind in kinds if isinstance(value, getattr(pandas, kind))), None)


def _speaks_arrow(value: Any) -> bool:
    """Return whether *value* has Arrow's C interface: pyarrow, polars and others."""
    return hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__")


def _columns_to_numbers(name: str, columns: Columns, kinds: list[str], described: list[str]) -> type[Any]:
    """Return the dtype that holds columns of these NumPy *kinds* together; raise for the others by their names."""
    bad = [(column, said) for column, kind, said in zip(columns, kinds, described, strict=True) if kind not in "fiub"]
    if bad:
        listed = ", ".join(f"{column!r} ({said})" for column, said in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        plural = "columns hold" if len(bad) > 1 else "column holds"
        raise TypeError(f"data: {name}: {plural} no numbers: {listed}{more}; drop them or {_ENCODE}.")
    if "f" in kinds:
        return np.float32
    return np.bool_ if set(kinds) == {"b"} else np.int64


def _from_frame(frame: Any, name: str) -> tuple[Tensor, Columns]:
    columns = tuple(str(column) for column in frame.columns)
    if not columns:
        raise ValueError(f"data: {name} is a DataFrame without columns; select at least one.")
    # NumPy dtypes have a kind; so have pandas' own nullable ones. Categories, strings and dates say "O" or "M".
    kinds = [str(getattr(dtype, "kind", "O")) for dtype in frame.dtypes]
    dtype = _columns_to_numbers(name, columns, kinds, [str(dtype) for dtype in frame.dtypes])
    if dtype is not np.float32:
        missing = frame.isna().to_numpy()
        if missing.any():
            _raise_missing(name, columns, missing)
    with np.errstate(over="ignore"):
        array = frame.to_numpy(dtype=dtype, na_value=np.nan) if dtype is np.float32 else frame.to_numpy(dtype=dtype)
    return _from_numpy(array, name), columns


def _from_series(series: Any, name: str) -> tuple[Tensor, Columns]:
    frame = series.to_frame(name="values" if series.name is None else series.name)
    tensor, columns = _from_frame(frame, name)
    return tensor[:, 0].contiguous(), () if series.name is None else columns


def _raise_missing(name: str, columns: Columns, missing: np.ndarray[Any, Any]) -> None:
    row, column = (int(index) for index in np.argwhere(missing)[0])
    raise ValueError(
        f"data: {name}: column {columns[column]!r} has no value in row {row} ({int(missing.sum())} missing in all), "
        "and integers have no NaN; fill the missing values or drop their rows."
    )


def _from_arrow(value: Any, name: str) -> tuple[Tensor, Columns]:
    import pyarrow as pa

    if hasattr(value, "column_names") or hasattr(value, "columns"):
        table = value if isinstance(value, pa.Table) else pa.table(value)
        columns = tuple(str(column) for column in table.column_names)
        if not columns:
            raise ValueError(f"data: {name} is an Arrow table without columns; select at least one.")
        arrays = [_arrow_numbers(column, name, label) for column, label in zip(table.columns, columns, strict=True)]
    else:
        array = _arrow_numbers(pa.chunked_array(value), name, None)
        return _from_numpy(array, name), ()
    kinds = [array.dtype.kind for array in arrays]
    dtype = _columns_to_numbers(name, columns, kinds, [str(array.dtype) for array in arrays])
    matrix = np.empty((table.num_rows, len(columns)), dtype=dtype)
    with np.errstate(over="ignore"):
        for index, array in enumerate(arrays):
            if array.ndim > 1:
                raise TypeError(
                    f"data: {name}: column {columns[index]!r} holds lists, and a table becomes one matrix; pass this "
                    "column as an input of its own."
                )
            matrix[:, index] = array
    return torch.from_numpy(matrix), columns


def _arrow_numbers(column: Any, name: str, label: str | None) -> np.ndarray[Any, Any]:
    """Return an Arrow column as NumPy, **(n,)**, or **(n, k)** for lists of a fixed size; nulls are refused by row."""
    import pyarrow as pa
    import pyarrow.compute as compute

    where = name if label is None else f"{name}: column {label!r}"
    if column.null_count:
        row = compute.index(compute.is_null(column), True).as_py()
        raise ValueError(
            f"data: {where} has no value in row {row} ({column.null_count} missing in all); fill the missing values or "
            "drop their rows."
        )
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        combined = column.combine_chunks()
        flat = _arrow_numbers(pa.chunked_array([combined.flatten()]), name, label)
        return flat.reshape(len(column), kind.list_size)
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise TypeError(f"data: {where} holds no numbers (Arrow type {kind}); drop it or {_ENCODE}.")
    array: np.ndarray[Any, Any] = column.to_numpy()
    return array

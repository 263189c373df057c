"""``.npy`` files, and which of their columns are features, target and weight, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .files import WHO, File, find_files
from .npy import Columns, Npy, NpyPart, read_header
from .rows import Layout
from .table import RowTable

__all__ = ["npy_table"]


def npy_table(
    files: Sequence[File], target: Any, columns: Any, weight: Any, filter: Any, dtype: np.dtype[Any]
) -> RowTable:
    """Return the table of ``.npy`` files; `thalweg.data.stream` says what the arguments mean.

    Raises:
        ValueError: a file is damaged, the files do not fit each other, or a column is out of range.
        TypeError: a column is no number.
    """
    if filter is not None:
        raise ValueError(
            f"{WHO}: filter=… names columns, and {files[0].path} has none to name; filter while writing the .npy, or "
            "write Parquet."
        )
    arrays = [read_header(file) for file in files]
    shape = arrays[0].shape[1:]
    for array in arrays[1:]:
        if array.shape[1:] != shape:
            raise ValueError(
                f"{WHO}: a row of {arrays[0].file.path} has the shape {shape}, one of {array.file.path} has "
                f"{array.shape[1:]}; all files of a stream need the same columns."
            )
    width = arrays[0].width
    targets = _beside("target", target, arrays)
    weights = _beside("weight", weight, arrays)
    target_columns = None if target is None or targets else _columns("target", target, width, arrays[0])
    weight_column = None if weight is None or weights else _columns("weight", weight, width, arrays[0])
    if weight_column is not None and not isinstance(weight_column, int):
        raise ValueError(f"{WHO}: weight={weight!r} names several columns, but a row has one weight; give one number.")
    if weight is not None and target is None:
        raise ValueError(f"{WHO}: weight={weight!r} weighs rows of a target, but target is None; give a target too.")
    taken = {*_numbers(target_columns, width), *_numbers(weight_column, width)}
    chosen = _features(columns, width, taken, arrays[0])
    if len(shape) > 1 and (columns is not None or taken):
        raise ValueError(
            f"{WHO}: a row of {arrays[0].file.path} has the shape {shape}, which has no columns to choose; keep target "
            "and weight in .npy files of their own, or reshape to (n, D)."
        )
    parts = []
    for index, array in enumerate(arrays):
        y: tuple[Npy, Columns | int] | None = None if target_columns is None else (array, target_columns)
        w: tuple[Npy, int] | None = (array, weight_column) if isinstance(weight_column, int) else None
        if targets:
            y = (targets[index], 0 if len(targets[index].shape) == 1 else slice(None))
        if weights:
            w = (weights[index], 0)
        parts.append(NpyPart(array, chosen, y, w))
    kinds = {array.dtype.kind for array in (targets or arrays)}
    layout = Layout(
        features=tuple(f"x{number}" for number in _numbers(chosen, width)),
        targets=_count(parts[0], width),
        weighted=weight is not None,
        dtype=dtype,
        target_dtype=np.dtype(np.int64) if kinds <= set("iub") else dtype,
        shape=(width,) if len(shape) < 2 else shape,
    )
    if len(layout.shape) == 1:
        layout = Layout(**{**vars(layout), "shape": (len(layout.features),)})
    return RowTable(parts, layout, f"{target_columns} {weight_column} {chosen}")


def _count(part: NpyPart, width: int) -> int | None:
    if part.y is None:
        return None
    array, columns = part.y
    return 0 if isinstance(columns, int) else len(_numbers(columns, array.width))


def _beside(what: str, given: Any, arrays: Sequence[Npy]) -> list[Npy]:
    """Return the files beside the features where *given* is a path or several; an empty list where it is columns."""
    is_path = isinstance(given, (str, Path))
    if not is_path and not (isinstance(given, (list, tuple)) and given and isinstance(given[0], (str, Path))):
        return []
    try:
        beside = [read_header(file) for file in find_files(given)]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} ({what}={given!r}: the columns of .npy have no names; give a number or a path.)"
        ) from None
    if len(beside) != len(arrays):
        raise ValueError(f"{WHO}: {len(arrays)} files, but {len(beside)} for {what}; give one beside each.")
    for array, other in zip(arrays, beside, strict=True):
        if array.shape[0] != other.shape[0]:
            raise ValueError(
                f"{WHO}: {array.file.path} has {array.shape[0]} rows, but {what} {other.file.path} has "
                f"{other.shape[0]}; every row needs one."
            )
        if len(other.shape) > 2 or (what == "weight" and other.width != 1):
            raise ValueError(
                f"{WHO}: {what} {other.file.path} has the shape {other.shape}; a {what} file is (n,)"
                f"{' or (n, K)' if what == 'target' else ''}."
            )
        if other.shape[1:] != beside[0].shape[1:] or other.dtype.kind != beside[0].dtype.kind:
            raise ValueError(
                f"{WHO}: {what} {other.file.path} is {other.dtype} {other.shape[1:]} per row, {beside[0].file.path} is "
                f"{beside[0].dtype} {beside[0].shape[1:]}; all files of a stream need the same."
            )
    return beside


def _columns(what: str, given: Any, width: int, array: Npy) -> Columns | int:
    """Return *given* as non-negative numbers; a slice where they follow each other."""
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        if not -width <= given < width:
            raise ValueError(
                f"{WHO}: {what}={given} is not a column of {array.file.path}, which has {width} (0 … {width - 1})."
            )
        return int(given) % width
    if isinstance(given, slice):
        numbers = list(range(*given.indices(width)))
    elif isinstance(given, (list, tuple, range, np.ndarray)):
        numbers = [_single(what, number, width, array) for number in given]
    else:
        raise TypeError(
            f"{WHO}: {what}={given!r} is a {type(given).__name__}, but columns of .npy are numbers: an int, a slice or "
            "a list of ints."
        )
    if not numbers:
        raise ValueError(f"{WHO}: {what}={given!r} chooses none of the {width} columns of {array.file.path}.")
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{WHO}: {what}={given!r} names a column twice; name each once.")
    return _plain(numbers, width)


def _single(what: str, number: Any, width: int, array: Npy) -> int:
    column = _columns(what, number, width, array)
    if not isinstance(column, int):
        raise TypeError(f"{WHO}: {number!r} among {what} is a {type(number).__name__}; give ints.")
    return column


def _plain(numbers: list[int], width: int) -> Columns:
    if numbers == list(range(width)):
        return slice(None)
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return slice(numbers[0], numbers[-1] + 1)
    return numbers


def _numbers(columns: Columns | int | None, width: int) -> list[int]:
    if columns is None:
        return []
    if isinstance(columns, int):
        return [columns]
    return list(range(*columns.indices(width))) if isinstance(columns, slice) else columns


def _features(columns: Any, width: int, taken: set[int], array: Npy) -> Columns:
    if columns is None:
        rest = [number for number in range(width) if number not in taken]
        if not rest:
            raise ValueError(f"{WHO}: {array.file.path} has {width} columns, and none is left beside the target.")
        return _plain(rest, width)
    chosen = _columns("columns", columns, width, array)
    numbers = _numbers(chosen, width)
    both = taken & set(numbers)
    if both:
        raise ValueError(f"{WHO}: column {min(both)} is both feature and target or weight; take it out of columns.")
    return [chosen] if isinstance(chosen, int) else chosen

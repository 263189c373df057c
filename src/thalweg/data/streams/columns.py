"""Arrow columns as numbers: which are chosen, and what their types become.

=====================================  ===================================================
Arrow type                             becomes
=====================================  ===================================================
floats, integers                       the number
bool                                   0 or 1
decimal                                the nearest float
date, timestamp                        days since 1970-01-01 (UTC where a zone is given)
duration                               seconds
dictionary (pandas' categorical)       its values, where those are one of the above
text, binary, lists, structs, maps, …  refused by name
=====================================  ===================================================

A null is refused with its row; ``filter`` can leave such rows out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.errors import unknown_name

from .files import WHO
from .kernels import KERNELS
from .rows import Layout, Rows, is_finite

__all__ = ["Chosen", "Columns", "choose", "refuse_null", "to_numbers"]

_DAY = 86_400
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Chosen:
    """Columns by name.

    Attributes:
        features: the columns of x.
        targets: the columns of y.
        is_single: whether y is one number per row, **(m,)**, and not **(m, K)**.
        weight: the column of w, or None.
    """

    features: tuple[str, ...]
    targets: tuple[str, ...]
    is_single: bool
    weight: str | None

    @property
    def names(self) -> list[str]:
        """All of them, x before y before w."""
        return [*self.features, *self.targets, *([self.weight] if self.weight is not None else [])]

    def layout(self, schema: Any, dtype: np.dtype[Any]) -> Layout:
        """Return what a row holds, for files of the Arrow *schema*."""
        whole = self.targets and all(_is_whole(schema.field(name).type) for name in self.targets)
        return Layout(
            features=self.features,
            targets=None if not self.targets else 0 if self.is_single else len(self.targets),
            weighted=self.weight is not None,
            dtype=dtype,
            target_dtype=np.dtype(np.int64) if whole else dtype,
            shape=(len(self.features),),
        )


def choose(schema: Any, where: str, target: Any, columns: Any, weight: Any) -> Chosen:
    """Return the columns that are asked for, checked against the Arrow *schema* of the file *where*.

    Raises:
        ValueError: a column is unknown, doubled, or has two uses; none is left.
        TypeError: a name is no text, or a column holds no numbers.
    """
    known = list(schema.names)
    targets = _names("target", target)
    weights = _names("weight", weight)
    if len(weights) > 1:
        raise ValueError(f"{WHO}: weight={weight!r} names {len(weights)} columns, but a row has one weight; name one.")
    if weights and not targets:
        raise ValueError(f"{WHO}: weight={weight!r} weighs rows of a target, but target is None; name a target too.")
    used = [*targets, *weights]
    features = [name for name in known if name not in used] if columns is None else _names("columns", columns)
    for name in [*features, *used]:
        if name not in known:
            raise unknown_name(f"{WHO}: {where}", "column", name, known)
        if known.count(name) > 1:
            raise ValueError(f"{WHO}: {where} has {known.count(name)} columns named {name!r}; give each its own name.")
    for name in [*features, *used]:
        if [*features, *used].count(name) > 1:
            raise ValueError(f"{WHO}: column {name!r} is asked for twice, of columns, target and weight; name it once.")
    if not features:
        raise ValueError(f"{WHO}: {where} has the columns {', '.join(known)}, and no feature is left; choose others.")
    bad = [
        f"{name!r} ({schema.field(name).type})" for name in [*features, *used] if not _speaks(schema.field(name).type)
    ]
    if bad:
        listed = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise TypeError(
            f"{WHO}: {where}: {listed} {'hold' if len(bad) > 1 else 'holds'} no numbers; leave "
            f"{'them' if len(bad) > 1 else 'it'} out with columns=[…], or encode as numbers first (classes as 0 … C−1; "
            "the codes of a dictionary differ from file to file and are not used)."
        )
    return Chosen(
        tuple(features), tuple(targets), not isinstance(target, (list, tuple)), weights[0] if weights else None
    )


def _names(what: str, given: Any) -> list[str]:
    several = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    for name in several:
        if not isinstance(name, str):
            raise TypeError(f"{WHO}: {what}={given!r}: these files name their columns; give names, not {name!r}.")
    return several


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_whole(kind: Any) -> bool:
    """Return whether a column of this type is of integers or bools."""
    import pyarrow as pa

    kind = _plain(kind)
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _speaks(kind: Any) -> bool:
    """Return whether a column of this type becomes numbers."""
    import pyarrow as pa

    kind, types = _plain(kind), pa.types
    checks = (
        *(types.is_floating, types.is_integer, types.is_boolean, types.is_decimal),
        *(types.is_date, types.is_timestamp, types.is_duration),
    )
    return any(check(kind) for check in checks)


def to_numbers(array: Any) -> NDArray[Any]:
    """Return an Arrow array without nulls, of a type of the table above, as NumPy numbers, **(m,)**.

    >>> import pyarrow as pa, datetime
    >>> to_numbers(pa.array([datetime.date(1970, 1, 3)])).tolist()
    [2.0]
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    types, kind = pa.types, array.type
    if types.is_dictionary(kind):
        return to_numbers(array.dictionary_decode())
    if types.is_decimal(kind):
        array = compute.cast(array, pa.float64())
    elif types.is_date(kind):
        return np.asarray(compute.cast(compute.cast(array, pa.date32()), pa.int32())).astype(np.float64)
    elif types.is_timestamp(kind):
        ticks = np.asarray(compute.cast(array, pa.int64()))
        return ticks / float(_DAY * _PER_SECOND[kind.unit])
    elif types.is_duration(kind):
        return np.asarray(compute.cast(array, pa.int64())) / float(_PER_SECOND[kind.unit])
    numbers: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return numbers


class Columns:
    """Columns of numbers, x, y, w in this order, whose rows are copied to where rows lie.

    Args:
        numbers: one array **(m,)** per column.
        width: columns of x.
    """

    def __init__(self, numbers: Sequence[NDArray[Any]], width: int) -> None:
        self._numbers, self._width = numbers, width
        kinds = {column.dtype for column in numbers[:width]}
        close = all(column.strides[0] == column.itemsize for column in numbers[:width])
        self._kind = kinds.pop() if len(kinds) == 1 and close else None
        self._places = (
            np.array([column.__array_interface__["data"][0] for column in numbers[:width]], np.int64)
            if self._kind is not None
            else None
        )

    def __len__(self) -> int:
        return len(self._numbers[0])

    @property
    def addresses(self) -> NDArray[np.int64]:
        """Where all columns begin in memory, **(p,)**."""
        return np.array([column.__array_interface__["data"][0] for column in self._numbers], np.int64)

    def fill(self, start: int, into: Rows) -> bool:
        """Copy the rows from *start* on, as many as *into* takes; return whether all are known to be finite."""
        stop = start + len(into.x)
        done = self._compiled(start, into.x)
        if done is None:
            _transpose([column[start:stop] for column in self._numbers[: self._width]], into.x)
        rest = [column[start:stop] for column in self._numbers[self._width :]]
        if into.y is not None:
            if into.y.ndim == 1:
                into.y[...] = rest.pop(0)
            else:
                for index in range(into.y.shape[1]):
                    into.y[:, index] = rest.pop(0)
        if into.w is not None:
            into.w[...] = rest.pop(0)
        return bool(done) and into.w is None and (into.y is None or is_finite(into.y))

    def take(self, index: NDArray[np.int64], places: NDArray[np.int64], into: Rows) -> None:
        """Copy the rows *index* to the rows *places* of *into*."""
        targets = [*into.x.T]
        if into.y is not None:
            targets.extend([into.y] if into.y.ndim == 1 else into.y.T)
        if into.w is not None:
            targets.append(into.w)
        for column, target in zip(self._numbers, targets, strict=True):
            target[places] = column[index]

    def _compiled(self, start: int, x: NDArray[Any]) -> bool | None:
        if KERNELS.columns_to_rows is None or self._places is None or self._kind != x.dtype:
            return None
        places = self._places + start * x.itemsize
        return KERNELS.columns_to_rows(places[None], np.array([len(x)], np.int64), x)


_TILE = 2048  # rows written at a time: the lines of a tile stay in the cache until all their columns are there


def _transpose(numbers: Sequence[NDArray[Any]], into: NDArray[Any]) -> None:
    with np.errstate(over="ignore"):  # what does not fit becomes inf, which is refused with its row
        for start in range(0, len(into), _TILE):
            rows = into[start : start + _TILE]
            for index, column in enumerate(numbers):
                rows[:, index] = column[start : start + _TILE]


def refuse_null(column: Any, name: str, start: int, place: Callable[[int], str]) -> None:
    """Raise if an Arrow column, whose first row is *start*, holds a null.

    Raises:
        ValueError: with the row and the file.
    """
    if column.null_count:
        import pyarrow.compute as compute

        row = compute.index(compute.is_null(column), True).as_py()
        raise ValueError(
            f"{WHO}: {place(start + row)}: column {name!r} has no value (null); fill the missing values, or leave such "
            f"rows out with filter=[({name!r}, 'is not', None)]."
        )

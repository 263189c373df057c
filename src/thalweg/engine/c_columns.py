"""Columns of numbers laid side by side as rows, by a C kernel; `thalweg.data` reads files of columns with it."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.engine.bucket import address
from thalweg.engine.c_compiler import NoCompiler, load_kernel

__all__ = ["columns_to_rows", "take_columns"]

Integers = NDArray[np.int64]

_WORTH_COMPILING = 1024  # rows; a reader of large files brings thousands at a time
_WORTH_A_CALL = 64

# Eight columns of a few rows are read, and eight numbers of a row are written together: lines of the cache are then
# touched once in either direction, where a copy column by column touches each line of the rows once per column.
# 0 times a number that is not finite is NaN, so that one sum says whether all are finite.
_SOURCE = r"""
typedef long long i64;
typedef @REAL@ real;
typedef real anywhere __attribute__((aligned(1))); /* values of a mapped page begin at any byte */
typedef real eight __attribute__((vector_size(8 * sizeof(real)), aligned(sizeof(real))));
#define ROWS 64

/* Ask for the eight columns that come next: they lie far apart, and few of their lines are read one after another. */
static inline void ask(const anywhere *const *columns, i64 j, i64 start, i64 stop, i64 n, const i64 *places, i64 wide,
                       int more, i64 count) {
    if (j + 8 > count) {
        j = 0;
        start = stop;
        if (start >= n) {
            if (!more) return;
            columns = (const anywhere *const *)(places + wide);
            start = 0;
        }
        if (count < 8) return;
    }
    for (i64 c = j; c < j + 8; c++)
        for (i64 byte = 0; byte < ROWS * (i64)sizeof(real); byte += 64)
            __builtin_prefetch((const char *)(columns[c] + start) + byte);
}

/* `pieces` pieces of counts[k] rows, one after another; piece k has its columns at places[k * wide ...]. */
i64 columns_to_rows(const i64 *places, i64 wide, const i64 *counts, i64 pieces, i64 count, real *rows, i64 step) {
    eight sums = (eight){0};
    real sum = 0;
    for (i64 k = 0; k < pieces; k++, places += wide) {
        const anywhere *const *columns = (const anywhere *const *)places;
        const i64 n = counts[k];
        for (i64 start = 0; start < n; start += ROWS) {
            const i64 stop = start + ROWS < n ? start + ROWS : n;
            i64 j = 0;
            for (; j + 8 <= count; j += 8) {
                ask(columns, j + 8, start, stop, n, places, wide, k + 1 < pieces, count);
                const anywhere *c0 = columns[j], *c1 = columns[j + 1], *c2 = columns[j + 2], *c3 = columns[j + 3],
                           *c4 = columns[j + 4], *c5 = columns[j + 5], *c6 = columns[j + 6], *c7 = columns[j + 7];
                for (i64 i = start; i < stop; i++) {
                    const eight values = {c0[i], c1[i], c2[i], c3[i], c4[i], c5[i], c6[i], c7[i]};
                    *(eight *)(rows + i * step + j) = values;
                    sums += values * 0;
                }
            }
            for (; j < count; j++)
                for (i64 i = start; i < stop; i++) {
                    const real value = columns[j][i];
                    rows[i * step + j] = value;
                    sum += value * 0;
                }
        }
        rows += n * step;
    }
    for (i64 l = 0; l < 8; l++) sum += sums[l];
    return sum == 0;
}

/* Row i is the one at offsets[i] of piece numbers[i]. */
i64 take_columns(const i64 *places, i64 wide, const i64 *numbers, const i64 *offsets, i64 n, i64 count, real *rows,
                 i64 step) {
    real sum = 0;
    for (i64 i = 0; i < n; i++) {
        const anywhere *const *columns = (const anywhere *const *)(places + numbers[i] * wide);
        const i64 offset = offsets[i];
        for (i64 j = 0; j < count; j++) {
            const real value = columns[j][offset];
            rows[i * step + j] = value;
            sum += value * 0;
        }
    }
    return sum == 0;
}
"""


def columns_to_rows(places: Integers, counts: Integers, rows: NDArray[Any]) -> bool | None:
    """Write pieces of columns one after another to *rows*; return whether all are finite, None where nothing was done.

    The numbers of a column are of the rows' type and lie side by side. It is done for many rows of float32 or float64,
    where a kernel compiles.

    Args:
        places: the addresses of the p columns of every piece, **(k, p)**.
        counts: the rows of every piece, **(k,)**.
        rows: **(n, p)**, n the sum of *counts*.

    >>> rows, columns = np.zeros((2000, 2)), [np.arange(2000.0), np.ones(2000)]
    >>> places = np.array([[address(column) for column in columns]])
    >>> if columns_to_rows(places, np.array([2000]), rows) is None:
    ...     rows[:] = np.stack(columns, 1)
    >>> rows[1999].tolist()
    [1999.0, 1.0]
    """
    run = _function("columns_to_rows", places, rows)
    if run is None:
        return None
    pieces, wide, step = len(places), places.strides[0] // 8, rows.strides[0] // rows.itemsize
    return bool(run(address(places), wide, address(counts), pieces, rows.shape[1], address(rows), step))


def take_columns(places: Integers, numbers: Integers, offsets: Integers, rows: NDArray[Any]) -> bool | None:
    """Write single rows out of pieces of columns to *rows*; return as `columns_to_rows` does.

    Args:
        places: the addresses of the p columns of every piece, **(k, p)**.
        numbers: the piece of every row, **(n,)**.
        offsets: its place within the piece, **(n,)**.
        rows: **(n, p)**.
    """
    run = _function("take_columns", places, rows)
    if run is None:
        return None
    wide, step = places.strides[0] // 8, rows.strides[0] // rows.itemsize
    where = address(numbers), address(offsets)
    return bool(run(address(places), wide, *where, len(rows), rows.shape[1], address(rows), step))


def _function(name: str, places: Integers, rows: NDArray[Any]) -> Any:
    """Return a function of the kernel, or None where it is not worth a call or cannot be made."""
    size = rows.itemsize
    if len(rows) < (_WORTH_A_CALL if _loaded.cache_info().currsize else _WORTH_COMPILING):
        return None
    if rows.strides[0] % size or rows.strides[1] != size or (places.shape[1] > 1 and places.strides[1] != 8):
        return None
    library = _loaded(rows.dtype.name)
    return None if library is None else getattr(library, name)


@lru_cache(maxsize=8)
def _loaded(kind: str) -> Any:
    real = {"float32": "float", "float64": "double"}.get(kind)
    if real is None:
        return None
    try:
        library = load_kernel(_SOURCE.replace("@REAL@", real))
    except NoCompiler:
        return None
    number, place = ctypes.c_longlong, ctypes.c_void_p
    library.columns_to_rows.argtypes = [place, number, place, number, number, place, number]
    library.take_columns.argtypes = [place, number, place, place, number, number, place, number]
    library.columns_to_rows.restype = library.take_columns.restype = number
    return library

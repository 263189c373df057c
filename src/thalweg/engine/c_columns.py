"""Columns of numbers laid side by side as rows, by a C kernel; `thalweg.data` reads files of columns with it."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.engine.bucket import address
from thalweg.engine.c_compiler import real_function

__all__ = ["columns_to_rows"]

_WORTH_COMPILING = 1024  # rows; a reader of large files brings thousands at a time
_WORTH_A_CALL = 64

# Eight columns of a few rows are read, and eight numbers of a row are written together: lines of the cache are then
# touched once in either direction, where a copy column by column touches each line of the rows once per column.
_SOURCE = r"""
typedef long long i64;
typedef @REAL@ real;
typedef real anywhere __attribute__((aligned(1))); /* values of a mapped page begin at any byte */
typedef real eight __attribute__((vector_size(8 * sizeof(real)), aligned(sizeof(real))));
#define ROWS 64

void columns_to_rows(const anywhere *const *columns, i64 count, i64 n, real *rows, i64 step) {
    for (i64 start = 0; start < n; start += ROWS) {
        const i64 stop = start + ROWS < n ? start + ROWS : n;
        i64 j = 0;
        for (; j + 8 <= count; j += 8) {
            const anywhere *c0 = columns[j], *c1 = columns[j + 1], *c2 = columns[j + 2], *c3 = columns[j + 3],
                       *c4 = columns[j + 4], *c5 = columns[j + 5], *c6 = columns[j + 6], *c7 = columns[j + 7];
            for (i64 i = start; i < stop; i++)
                *(eight *)(rows + i * step + j) = (eight){c0[i], c1[i], c2[i], c3[i], c4[i], c5[i], c6[i], c7[i]};
        }
        for (; j < count; j++)
            for (i64 i = start; i < stop; i++) rows[i * step + j] = columns[j][i];
    }
}
"""


def columns_to_rows(places: NDArray[np.int64], rows: NDArray[Any]) -> bool:
    """Write the columns at the addresses *places*, **(p,)**, to *rows*, **(n, p)**; return whether that was done.

    The numbers of a column are of the rows' type and lie side by side. It is done for many rows of float32 or float64,
    where a kernel compiles.

    >>> rows, columns = np.zeros((2000, 2)), [np.arange(2000.0), np.ones(2000)]
    >>> if not columns_to_rows(np.array([address(column) for column in columns]), rows):
    ...     rows[:] = np.stack(columns, 1)
    >>> rows[1999].tolist()
    [1999.0, 1.0]
    """
    n, size = len(rows), rows.itemsize
    if n < (_WORTH_A_CALL if _loaded.cache_info().currsize else _WORTH_COMPILING):
        return False
    run = _loaded(rows.dtype.name)
    if run is None or rows.strides[1] != size or rows.strides[0] % size:
        return False
    run(address(places), len(places), n, address(rows), rows.strides[0] // size)
    return True


@lru_cache(maxsize=8)
def _loaded(kind: str) -> Any:
    number, place = ctypes.c_longlong, ctypes.c_void_p
    arguments = [place, number, number, place, number]
    return real_function(_SOURCE, kind, "columns_to_rows", arguments)

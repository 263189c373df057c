"""Single rows taken out of a mapped file by a C kernel; `thalweg.data` makes shuffled batches with it."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.engine.bucket import address
from thalweg.engine.c_compiler import real_function

__all__ = ["take_rows"]

_WORTH_COMPILING = 1 << 16  # rows of the file

# The rows that come next are asked for while this one is copied: they lie at random places, which no processor guesses.
_SOURCE = r"""
typedef long long i64;
typedef @REAL@ real;
#define LANES ((i64)(32 / sizeof(real)))
#define AHEAD 16
typedef real vec __attribute__((vector_size(32), aligned(sizeof(real))));

/* Copy the rows of `index` and their targets; return whether all numbers are finite: 0 times another one is NaN. */
i64 take_rows(const real *x, i64 x_step, i64 p, const real *y, i64 y_step, const i64 *index, i64 n, real *x_out,
              real *y_out) {
    vec sums = (vec){0};
    real sum = 0;
    for (i64 k = 0; k < n; k++) {
        const real *from = x + index[k] * x_step;
        real *to = x_out + k * p;
        if (k + AHEAD < n) {
            const real *next = x + index[k + AHEAD] * x_step;
            for (i64 j = 0; j < p; j += 64 / sizeof(real)) __builtin_prefetch(next + j);
            __builtin_prefetch(next + p - 1);
        }
        i64 j = 0;
        for (; j + LANES <= p; j += LANES) {
            const vec values = *(const vec *)(from + j);
            *(vec *)(to + j) = values;
            sums += values * 0;
        }
        for (; j < p; j++) {
            to[j] = from[j];
            sum += from[j] * 0;
        }
        if (y) {
            y_out[k] = y[index[k] * y_step];
            sum += y_out[k] * 0;
        }
    }
    for (i64 l = 0; l < LANES; l++) sum += sums[l];
    return sum == 0;
}
"""


def take_rows(
    x: NDArray[Any], y: NDArray[Any] | None, index: NDArray[np.int64], x_out: NDArray[Any], y_out: NDArray[Any] | None
) -> bool | None:
    """Copy the rows *index* of x **(n, p)** and y **(n,)**; return whether all are finite, None where nothing was done.

    It is done for many rows of float32 or float64 whose numbers lie side by side, where a kernel compiles.

    >>> x, x_out = np.arange(200_000.0).reshape(-1, 2), np.zeros((2, 2))
    >>> if take_rows(x, None, np.array([99_999, 1]), x_out, None) is None:
    ...     x_out[:] = x[[99_999, 1]]
    >>> x_out.tolist()
    [[199998.0, 199999.0], [2.0, 3.0]]
    """
    size = x.itemsize
    if len(x) < _WORTH_COMPILING or x.strides[1] != size or x.strides[0] % size or not x.flags.aligned:
        return None
    if y is not None and (y.ndim != 1 or y.dtype != x.dtype or y.strides[0] % size or not y.flags.aligned):
        return None
    outs = [x_out] if y_out is None else [x_out, y_out]
    if any(out.dtype != x.dtype or not out.flags.c_contiguous for out in outs):
        return None
    run = _loaded(x.dtype.name)
    if run is None:
        return None
    target = (None, 0) if y is None else (address(y), y.strides[0] // size)
    own = None if y_out is None else address(y_out)
    places = np.ascontiguousarray(index, np.int64)
    rows = address(x), x.strides[0] // size, x.shape[1]
    return bool(run(*rows, *target, address(places), len(places), address(x_out), own))


@lru_cache(maxsize=8)
def _loaded(kind: str) -> Any:
    number, place = ctypes.c_longlong, ctypes.c_void_p
    arguments = [place, number, number, place, number, place, number, place, place]
    return real_function(_SOURCE, kind, "take_rows", arguments, number)

"""The upper triangle of a Gram matrix by a C kernel: rows are read once, converted in the first-level cache.

A library's product converts and copies all rows first and computes both triangles; for a few dozen columns that is more
than half of its time. This kernel takes some rows at a time into a tile of double (or float) numbers, subtracts the
shift there, and adds the products of a few columns with three vectors of columns in registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from thalweg.engine.c_compiler import NoCompiler, load_kernel

from .blocks import Array

__all__ = ["MOST_COLUMNS", "GramKernel", "gram_kernel"]

MOST_COLUMNS = 192
"""Columns beyond which a tile leaves the first-level cache and a library's product is as fast."""

_TILE = 24 << 10  # bytes
_C = {"float32": "float", "float64": "double"}

_SOURCE = r"""
#pragma GCC optimize("fp-contract=fast")
#pragma STDC FP_CONTRACT ON
typedef long long i64;
typedef @GIVEN@ given;
typedef @KIND@ kind;
typedef @WIDER@ wider;

#if defined(__AVX512F__)
#define BYTES 64
#define ROWS 8
#elif defined(__AVX__)
#define BYTES 32
#define ROWS 4
#else
#define BYTES 16
#define ROWS 4
#endif
#define LANES ((i64)(BYTES / sizeof(kind)))
#define VECTOR(type, align) type __attribute__((vector_size(LANES * sizeof(type)), aligned(align)))
typedef VECTOR(kind, BYTES) vec;
typedef VECTOR(kind, sizeof(kind)) any_vec;
typedef VECTOR(given, sizeof(given)) given_vec;
typedef VECTOR(wider, sizeof(wider)) wide_vec;
typedef VECTOR(double, 8) double_vec;

/* What a row's length must be a multiple of. */
i64 multiple(void) { return 3 * LANES; }

/* Add the products of the columns i ... i + ROWS - 1 with the columns j ... j + 3 LANES - 1, from one of the latter's
   three vectors on. */
static inline __attribute__((always_inline)) void block(const kind *tile, i64 rows, i64 width, i64 i, i64 j,
                                                        double *total, const int from) {
    vec sum[ROWS][3];
    for (int r = 0; r < ROWS; r++) for (int c = 0; c < 3; c++) sum[r][c] = (vec){0};
    const kind *left = tile + i, *right = tile + j;
    for (i64 k = 0; k < rows; k++, left += width, right += width) {
        const vec b0 = *(const vec *)right, b1 = *(const vec *)(right + LANES), b2 = *(const vec *)(right + 2 * LANES);
        #pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const vec a = left[r] - (vec){0};
            if (from < 1) sum[r][0] += a * b0;
            if (from < 2) sum[r][1] += a * b1;
            sum[r][2] += a * b2;
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = from; c < 3; c++)
            *(double_vec *)(total + (i + r) * width + j + c * LANES) += __builtin_convertvector(sum[r][c], double_vec);
}

/* Above the diagonal, and from the first vector that the diagonal meets. */
static void block0(const kind *t, i64 r, i64 w, i64 i, i64 j, double *o) { block(t, r, w, i, j, o, 0); }
static void block1(const kind *t, i64 r, i64 w, i64 i, i64 j, double *o) { block(t, r, w, i, j, o, 1); }
static void block2(const kind *t, i64 r, i64 w, i64 i, i64 j, double *o) { block(t, r, w, i, j, o, 2); }

/* to[j] = from[j] - shift[j]; the last vector may repeat some of the one before. */
static inline void shifted(const given *from, const wider *shift, i64 count, kind *to) {
    if (count < LANES) {
        for (i64 j = 0; j < count; j++) to[j] = (kind)((wider)from[j] - shift[j]);
        return;
    }
    for (i64 j = 0; j < count; j += LANES) {
        const i64 at = j + LANES <= count ? j : count - LANES;
        const wide_vec value = __builtin_convertvector(*(const given_vec *)(from + at), wide_vec);
        *(any_vec *)(to + at) = __builtin_convertvector(value - *(const wide_vec *)(shift + at), any_vec);
    }
}

/* Rows (x - shift, y - shift, 1), times the root of their weight, in tiles of `at_once`; `total` and `tile` are
   width x width and at_once x width, the tile's columns from p + t + 1 on zero. */
void gram(const given *x, i64 x_step, i64 p, const given *y, i64 y_step, i64 t, const double *weight, i64 n,
          const wider *shift, double *total, kind *tile, i64 at_once, i64 width) {
    for (i64 start = 0; start < n; start += at_once) {
        const i64 rows = n - start < at_once ? n - start : at_once;
        for (i64 k = 0; k < rows; k++) {
            kind *to = tile + k * width;
            shifted(x + (start + k) * x_step, shift, p, to);
            shifted(y + (start + k) * y_step, shift + p, t, to + p);
            to[p + t] = 1;
            if (weight) {
                const kind root = (kind)__builtin_sqrt(weight[start + k]);
                for (i64 j = 0; j < width; j += LANES) *(vec *)(to + j) *= root;
            }
        }
        for (i64 j = 0; j < width; j += 3 * LANES)
            for (i64 i = 0; i < j + 3 * LANES; i += ROWS) {
                if (i < j + LANES) block0(tile, rows, width, i, j, total);
                else if (i < j + 2 * LANES) block1(tile, rows, width, i, j, total);
                else block2(tile, rows, width, i, j, total);
            }
    }
}
"""


@dataclass(frozen=True)
class GramKernel:
    """The kernel for rows of one type, summed in another.

    Attributes:
        library: the compiled source.
        kind: in which the products are made; float64, or float32 with the tiles' sums in float64.
        shift: in which rows are shifted.
        multiple: what the rows of tile and total are padded to.
    """

    library: Any
    kind: np.dtype[Any]
    shift: np.dtype[Any]
    multiple: int

    def is_worth(self, columns: int) -> bool:
        """Return whether rows of *columns* numbers fill at least half of what they are padded to."""
        return 2 * (columns + 1) > self.multiple

    def width(self, columns: int) -> int:
        """Return the length of a padded row of *columns* numbers and a one."""
        return -(-(columns + 1) // self.multiple) * self.multiple

    def rows_at_once(self, columns: int) -> int:
        """Return the rows of a tile."""
        return max(16, _TILE // (self.width(columns) * self.kind.itemsize))

    def tile(self, columns: int) -> Array:
        """Return a tile, zero beyond the columns."""
        shape = self.rows_at_once(columns), self.width(columns)
        return _aligned(shape, self.kind)

    def total(self, columns: int) -> Array:
        """Return a total of zeros, of which the upper triangle will be filled."""
        return _aligned((self.width(columns), self.width(columns)), np.dtype(np.float64))

    def add(
        self, x: Array, y: Array, weight: Array | None, shift: Array, start: int, stop: int, total: Array, tile: Array
    ) -> None:
        """Add the products of the rows *start* … *stop* − 1 to the upper triangle of *total*.

        Args:
            x, y: **(n, p)** and **(n, t)** of the type that the kernel was made for, columns side by side.
            weight: **(n,)** float64, or None.
            shift: **(p + t,)** of the type `shift`.
        """
        self.library.gram(
            *(_at(x, start), x.strides[0] // x.itemsize, x.shape[1]),
            *(_at(y, start), y.strides[0] // y.itemsize, y.shape[1]),
            None if weight is None else _at(weight, start),
            stop - start,
            *(_at(shift, 0), _at(total, 0), _at(tile, 0)),
            *tile.shape,
        )


def gram_kernel(given: np.dtype[Any], kind: np.dtype[Any]) -> GramKernel | None:
    """Return the kernel for features and targets of type *given*, multiplied as *kind*, or None where none compiles."""
    if given.name not in _C or not given.isnative:
        return None
    return _loaded(given.name, kind.name)


@lru_cache(maxsize=4)
def _loaded(given: str, kind: str) -> GramKernel | None:
    import ctypes

    # A float64 row is shifted before it is rounded to float32.
    wider = max(given, kind)
    source = _SOURCE.replace("@GIVEN@", _C[given]).replace("@KIND@", _C[kind])
    try:
        library = load_kernel(source.replace("@WIDER@", _C[wider]))
    except NoCompiler:
        return None
    number, place = ctypes.c_longlong, ctypes.c_void_p
    rows: list[Any] = [place, number, number]
    library.gram.argtypes = [*rows, *rows, place, number, place, place, place, number, number]
    library.gram.restype = None
    library.multiple.restype = number
    return GramKernel(library, np.dtype(kind), np.dtype(wider), int(library.multiple()))


def _at(array: Array, row: int) -> int:
    place: int = array.__array_interface__["data"][0]
    return place + row * array.strides[0]


def _aligned(shape: tuple[int, int], kind: np.dtype[Any]) -> Array:
    """Return zeros that begin at a multiple of 64 bytes."""
    size = shape[0] * shape[1] * kind.itemsize
    raw = np.zeros(size + 64, np.uint8)
    shift = -_at(raw, 0) % 64
    return raw[shift : shift + size].view(kind).reshape(shape)

"""The gradient of least squares over a batch by one C call: rows are read once, from where they lie."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from thalweg.engine.c_compiler import NoCompiler, load_kernel

from .blocks import Array

__all__ = ["MOST_FEATURES", "GradientKernel", "gradient_kernel"]

MOST_FEATURES = 2048
"""Features beyond which coefficients and sums leave the first-level cache, and two products are as fast."""

CHUNK = 256  # rows that are summed in the features' type, before the sums are added up in float64

_C = {"float32": "float", "float64": "double"}

_SOURCE = r"""
#pragma GCC optimize("fp-contract=fast")
#pragma STDC FP_CONTRACT ON
typedef long long i64;
typedef @REAL@ real;

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES ((i64)(BYTES / sizeof(real)))
#define MOST @MOST@
#define CHUNK @CHUNK@
#define AHEAD 16
typedef real vec __attribute__((vector_size(BYTES), aligned(sizeof(real))));
typedef real half_vec __attribute__((vector_size(BYTES / 2)));
typedef real quarter_vec __attribute__((vector_size(BYTES > 16 ? BYTES / 4 : BYTES / 2)));

static inline real total(vec values) {
    union { vec all; half_vec halves[2]; quarter_vec quarters[2]; real each[LANES]; } u = { .all = values };
    u.halves[0] += u.halves[1];
#if BYTES > 16
    u.quarters[0] += u.quarters[1];
    #define LEFT (LANES / 4)
#else
    #define LEFT (LANES / 2)
#endif
    real sum = u.each[0];
    #pragma GCC unroll 4
    for (int l = 1; l < LEFT; l++) sum += u.each[l];
    return sum;
}

/* Where the rows lie: x, y and weights (0: none), each with the distance of two rows, and the number of features. */
typedef struct { const real *x, *y, *weight; i64 x_step, y_step, weight_step, p; } rows;

/* Sums over the rows first ... last - 1 (of `index`, where it is given): gradient, residuals, squares, and the least
   weight. A row's last vector may repeat some features of the one before; their coefficients are 0 there. */
static inline __attribute__((always_inline)) void chunk(const rows *r, const i64 *index, i64 first, i64 last,
        i64 end, const real *coef, real offset, real *slope, double *sums, const i64 full) {
    const i64 p = r->p, rest = p - full * LANES, tail = p - LANES;
    const int scalar = p < LANES;
    vec last_coef = (vec){0}, last_sum = (vec){0}, sum[@VECTORS@];
    for (i64 j = 0; !scalar && j < rest; j++) last_coef[LANES - rest + j] = coef[full * LANES + j];
    for (i64 j = 0; j < full; j++) sum[j] = (vec){0};
    if (scalar) for (i64 j = 0; j < p; j++) slope[j] = 0;
    double residuals = 0, squares = 0, least = 0;
    for (i64 k = first; k < last; k++) {
        const i64 at = index ? index[k] : k;
        const real *x = r->x + at * r->x_step;
        if (index && k + AHEAD < end) {
            const real *next = r->x + index[k + AHEAD] * r->x_step;
            for (i64 j = 0; j < p; j += 64 / sizeof(real)) __builtin_prefetch(next + j);
            __builtin_prefetch(next + p - 1);
        }
        real z = offset;
        if (scalar) {
            for (i64 j = 0; j < p; j++) z += x[j] * coef[j];
        } else {
            vec product = *(const vec *)(x + tail) * last_coef;
            for (i64 j = 0; j < full; j++) product += *(const vec *)(x + j * LANES) * *(const vec *)(coef + j * LANES);
            z += total(product);
        }
        real residual = z - r->y[at * r->y_step];
        double square = (double)residual * residual;
        if (r->weight) {
            const real weight = r->weight[at * r->weight_step];
            least = weight < least ? weight : least;
            residual *= weight;
            square *= weight;
        }
        residuals += residual;
        squares += square;
        if (scalar) {
            for (i64 j = 0; j < p; j++) slope[j] += residual * x[j];
        } else {
            const vec times = residual - (vec){0};
            for (i64 j = 0; j < full; j++) sum[j] += times * *(const vec *)(x + j * LANES);
            last_sum += times * *(const vec *)(x + tail);
        }
    }
    for (i64 j = 0; j < full; j++) *(vec *)(slope + j * LANES) = sum[j];
    for (i64 j = 0; !scalar && j < rest; j++) slope[full * LANES + j] = last_sum[LANES - rest + j];
    sums[0] = residuals;
    sums[1] = squares;
    sums[2] = least;
}

static void any_chunk(const rows *r, const i64 *index, i64 first, i64 last, i64 end, const real *coef, real offset,
                      real *slope, double *sums) {
    const i64 full = r->p / LANES; /* few vectors stay in registers */
    if (full == 0) chunk(r, index, first, last, end, coef, offset, slope, sums, 0);
    else if (full == 1) chunk(r, index, first, last, end, coef, offset, slope, sums, 1);
    else if (full == 2) chunk(r, index, first, last, end, coef, offset, slope, sums, 2);
    else if (full == 3) chunk(r, index, first, last, end, coef, offset, slope, sums, 3);
    else if (full == 4) chunk(r, index, first, last, end, coef, offset, slope, sums, 4);
    else if (full == 5) chunk(r, index, first, last, end, coef, offset, slope, sums, 5);
    else chunk(r, index, first, last, end, coef, offset, slope, sums, full);
}

/* The mean gradient over n rows from `start` on (or those of `index`), in the coordinates (x - shift) / scale.
   numbers: ridge, mean weight; found: mean loss with the penalty, intercept, least weight.
   scratch: for each chunk p sums and three. Chunks are added in their order, whoever has made them. */
void gradient(const rows *r, const i64 *index, i64 start, i64 n, const real *weight, const real *bias,
              const real *scale, const real *shift, const double *numbers, real *coef, real *weight_grad,
              real *bias_grad, double *found, real *slopes, double *sums, i64 threads) {
    const i64 p = r->p, chunks = (n + CHUNK - 1) / CHUNK;
    double offset = bias ? *bias : 0, penalty = 0, totals[3] = {0, 0, 0}, slope[MOST];
    for (i64 j = 0; j < p; j++) {
        coef[j] = weight[j] / scale[j];
        offset -= (double)coef[j] * shift[j];
        penalty += (double)coef[j] * coef[j];
        slope[j] = 0;
    }
    const i64 from = index ? 0 : start;
    #pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (i64 c = 0; c < chunks; c++) {
        const i64 last = (c + 1) * CHUNK < n ? (c + 1) * CHUNK : n;
        any_chunk(r, index, from + c * CHUNK, from + last, from + n, coef, (real)offset, slopes + c * p, sums + 3 * c);
    }
    for (i64 c = 0; c < chunks; c++) {
        for (i64 j = 0; j < p; j++) slope[j] += slopes[c * p + j];
        totals[0] += sums[3 * c];
        totals[1] += sums[3 * c + 1];
        totals[2] = sums[3 * c + 2] < totals[2] ? sums[3 * c + 2] : totals[2];
    }
    const double ridge = numbers[0], share = 1 / (n * numbers[1]), mean = totals[0] * share;
    for (i64 j = 0; j < p; j++)
        weight_grad[j] = (real)((slope[j] * share - mean * shift[j] + ridge * coef[j]) / scale[j]);
    if (bias_grad) *bias_grad = (real)mean;
    found[0] = totals[1] * share / 2 + ridge / 2 * penalty;
    found[1] = offset;
    found[2] = totals[2];
}
"""


class _Rows(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "y", "weight")),
        *((name, ctypes.c_longlong) for name in ("x_step", "y_step", "weight_step", "p")),
    )


class GradientKernel:
    r"""The gradient of :math:`\frac{1}{n \bar w} [\frac12 \sum_i w_i (x_i c + b' - y_i)^2 + \dots]` in standardised
    coordinates, as `Descent.gradient` computes it, for one target.

    Args:
        library: the compiled source.
        weight, bias: parameters, **(1, p)** and **(1,)**, with gradients that are written in place; a bias without
            one stays 0.
        scale, shift: of the coordinates, **(p,)**, of the parameters' type.
        mean_weight: Σw / n of all rows.

    Attributes:
        coef: **(p,)**, in the coordinates of the data, before the last gradient.
        found: mean loss, intercept, and the least weight (at most 0) of the last batch, **(3,)** float64.
    """

    def __init__(
        self, library: Any, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor, mean_weight: float
    ) -> None:
        self._run = library.gradient
        self._weight, self._bias, self._scale, self._shift = weight, bias, scale, shift
        self._real = scale.numpy().dtype
        self.coef: Array = np.zeros(len(scale), self._real)
        self.found: Array = np.zeros(3)
        self._numbers = np.array([0.0, mean_weight])
        self._own = [_at(self._numbers), _at(self.coef), _at(self.found)]
        self._rows = _Rows(p=len(scale))
        self._rows_at = ctypes.byref(self._rows)
        self._most = 0
        self._arrays: tuple[Array | None, ...] = ()

    def attach(self, x: Array, y: Array, w: Array | None) -> bool:
        """Take up where rows lie; return whether the kernel can read them.

        Args:
            x: **(n, p)** with each row's numbers side by side.
            y: **(n,)**.
            w: **(n,)** or None.
        """
        given = [part for part in (x, y, w) if part is not None]
        if any(part.dtype != self._real or not part.flags.aligned for part in given) or y.ndim != 1:
            return False
        if any(part.strides[0] % part.itemsize for part in given) or (x.shape[1] > 1 and x.strides[1] != x.itemsize):
            return False
        self._arrays = (x, y, w)  # kept alive
        rows, size = self._rows, self._real.itemsize
        rows.x, rows.x_step = _at(x), x.strides[0] // size
        rows.y, rows.y_step = _at(y), y.strides[0] // size
        rows.weight, rows.weight_step = (None, 0) if w is None else (_at(w), w.strides[0] // size)
        return True

    def __call__(self, place: Array | range, ridge: float, threads: int = 1) -> None:
        """Write the gradient over some of the attached rows.

        Args:
            place: row numbers **(b,)** int64, or a range of them.
            ridge: α / Σw.
            threads: that share the rows; the result does not depend on it.
        """
        count = len(place)
        if count > self._most:
            chunks = -(-count // CHUNK)
            self._slopes, self._sums = np.empty((chunks, len(self.coef)), self._real), np.empty((chunks, 3))
            self._scratch = _at(self._slopes), _at(self._sums)
            self._most = count
        self._numbers[0] = ridge
        index, start = (None, place.start) if isinstance(place, range) else (_at(place), 0)
        weight, bias = self._weight, self._bias
        slope, rest = weight.grad, bias.grad
        assert slope is not None, "made with the parameter"
        numbers, coef, found = self._own
        # The parameters' addresses are asked for: an optimizer may give them other memory.
        self._run(
            *(self._rows_at, index, start, count),
            *(weight.data_ptr(), None if rest is None else bias.data_ptr()),
            *(self._scale.data_ptr(), self._shift.data_ptr(), numbers, coef),
            *(slope.data_ptr(), None if rest is None else rest.data_ptr(), found),
            *self._scratch,
            threads,
        )


def gradient_kernel(
    weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor, mean_weight: float
) -> GradientKernel | None:
    """Return the kernel for these parameters (see `GradientKernel`), or None where none compiles."""
    library = _loaded(scale.numpy().dtype.name) if len(scale) <= MOST_FEATURES else None
    return None if library is None else GradientKernel(library, weight, bias, scale, shift, mean_weight)


@lru_cache(maxsize=2)
def _loaded(real: str) -> Any:
    source = _SOURCE.replace("@REAL@", _C[real]).replace("@MOST@", str(MOST_FEATURES)).replace("@CHUNK@", str(CHUNK))
    try:
        library = load_kernel(source.replace("@VECTORS@", "MOST / LANES"))
    except NoCompiler:
        return None
    number, place = ctypes.c_longlong, ctypes.c_void_p
    library.gradient.argtypes = [place, place, number, number, *[place] * 11, number]
    library.gradient.restype = None
    return library


def _at(array: Any) -> int:
    place: int = array.__array_interface__["data"][0]
    return place

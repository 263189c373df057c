"""A rectified chain of linear layers at many points, in one C kernel that keeps its values in the cache."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from ..engine.c_compiler import NoCompiler, load_kernel
from ..engine.links import parameter_names
from .chain import Chain

__all__ = ["CompiledChain", "compiled_chain"]

#: Multiplications (rows x points x weights) from which the kernel, compiled once per machine and dtype in about half a
#: second and kept on disk, is worth having. Below it torch needs some hundredths of a second.
LEAST_WORK = 500_000_000
#: Larger layers are torch's: there the products themselves decide, and its matrix product is the better one.
_WIDEST, _MOST_WEIGHTS = 512, 16_384
#: Rows of a tile where vectors are shortest: three of two doubles.
_SMALLEST_TILE = 6
_REALS = {torch.float32: "float", torch.float64: "double"}

# One kernel serves every chain of a dtype: widths, and which layers are rectified, are arguments. A tile of rows, as
# many as the registers hold sums for, goes through all layers of one point before the next point takes its turn.
_SOURCE = r"""
typedef long long i64;
typedef REAL real;
#if defined(__AVX512F__)
#define BYTES 64
#define VECTORS 4
#define MOST 6
#elif defined(__AVX__)
#define BYTES 32
#define VECTORS 3
#define MOST 4
#else
#define BYTES 16
#define VECTORS 3
#define MOST 4
#endif
#define LANES (BYTES / (i64)sizeof(real))
#define TILE (VECTORS * LANES)
#define GROUP 8
/* A product and the sum it goes into are rounded once here, as in any matrix product. */
#pragma STDC FP_CONTRACT ON
#pragma GCC optimize("O3", "fp-contract=fast")
typedef real vec __attribute__((vector_size(BYTES)));
typedef real loose __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));
typedef WHOLE mask __attribute__((vector_size(BYTES)));

/* What is below zero becomes zero; a NaN is not below, and stays. */
static inline __attribute__((always_inline)) vec rectified(vec x) {
    return (vec)((mask)x & ~(mask)(x < (vec){0}));
}

static inline __attribute__((always_inline)) void
product(const real *weight, const real *bias, const vec *in, vec *out, i64 inputs, const int outputs, int rectify) {
    vec sum[MOST][VECTORS];
#pragma GCC unroll 6
    for (int a = 0; a < outputs; a++)
#pragma GCC unroll 4
        for (int r = 0; r < VECTORS; r++) sum[a][r] = (bias ? bias[a] : (real)0) - (vec){0};
    for (i64 c = 0; c < inputs; c++) {
#pragma GCC unroll 6
        for (int a = 0; a < outputs; a++) {
            const vec w = weight[a * inputs + c] - (vec){0};
#pragma GCC unroll 4
            for (int r = 0; r < VECTORS; r++) sum[a][r] += w * in[c * VECTORS + r];
        }
    }
#pragma GCC unroll 6
    for (int a = 0; a < outputs; a++)
#pragma GCC unroll 4
        for (int r = 0; r < VECTORS; r++) out[a * VECTORS + r] = rectify ? rectified(sum[a][r]) : sum[a][r];
}

/* Outputs are taken in blocks of nearly one size: 20 as four times 5, not as three times 6 and 2. */
static void layer(const real *weight, const real *bias, const vec *in, vec *out, i64 inputs, i64 outputs, int rectify) {
    for (i64 j = 0, left = (outputs + MOST - 1) / MOST, size; j < outputs; j += size, left--) {
        const real *w = weight + j * inputs, *b = bias ? bias + j : 0;
        vec *to = out + j * VECTORS;
        size = (outputs - j + left - 1) / left;
        if (size == 1) product(w, b, in, to, inputs, 1, rectify);
        if (size == 2) product(w, b, in, to, inputs, 2, rectify);
        if (size == 3) product(w, b, in, to, inputs, 3, rectify);
        if (size == 4) product(w, b, in, to, inputs, 4, rectify);
#if MOST > 4
        if (size == 5) product(w, b, in, to, inputs, 5, rectify);
        if (size == 6) product(w, b, in, to, inputs, 6, rectify);
#endif
    }
}

/* The sum of squared differences over one tile, in double beyond a vector's lanes. */
static double squared(const vec *out, const real *target, i64 last, i64 rows, i64 count) {
    double sum = 0;
    for (i64 c = 0; c < last; c++) {
        const real *wanted = target + c * rows;
        if (count == TILE) {
            vec lanes = {0};
#pragma GCC unroll 4
            for (int r = 0; r < VECTORS; r++) {
                const vec away = out[c * VECTORS + r] - *(const loose *)(wanted + r * LANES);
                lanes += away * away;
            }
            double part[2] = {0, 0};
            for (int i = 0; i < LANES; i++) part[i % 2] += lanes[i];
            sum += part[0] + part[1];
        } else {
            for (i64 i = 0; i < count; i++) {
                const real away = ((const real *)(out + c * VECTORS))[i] - wanted[i];
                sum += (double)away * away;
            }
        }
    }
    return sum;
}

/* The first layer is affine in the coordinates: products[0] + sum of factor times products[d], each (width, rows).
   weights[l] and biases[l], of layer l + 1, hold the points one after the other. out is (points, last, rows);
   with a target (last, rows) it is not written, and parts (tiles, points) and sums take the squared differences. */
void chain(const real *const *products, i64 directions, const real *factors, i64 rows, i64 layers, const i64 *widths,
           const int *rectify, const real *const *weights, const real *const *biases, real *out, i64 points,
           i64 widest, i64 threads, const real *target, double *parts, double *sums) {
    const i64 tiles = (rows + TILE - 1) / TILE, groups = (points + GROUP - 1) / GROUP, last = widths[layers];
#pragma omp parallel num_threads(threads)
    {
        vec held[widths[0] * (directions + 1) * VECTORS], one[widest * VECTORS], other[widest * VECTORS];
        i64 inside = -1;
#pragma omp for schedule(dynamic, 4)
        for (i64 item = 0; item < tiles * groups; item++) {
            const i64 tile = item / groups, start = tile * TILE;
            const i64 count = rows - start < TILE ? rows - start : TILE;
            if (tile != inside) {
                inside = tile;
                for (i64 d = 0; d <= directions; d++)
                    for (i64 c = 0; c < widths[0]; c++) {
                        const real *from = products[d] + c * rows + start;
                        vec *to = held + (c * (directions + 1) + d) * VECTORS;
                        if (count == TILE)
                            for (int r = 0; r < VECTORS; r++) to[r] = *(const loose *)(from + r * LANES);
                        else
                            for (i64 i = 0; i < TILE; i++) ((real *)to)[i] = i < count ? from[i] : 0;
                    }
            }
            const i64 first = item % groups * GROUP, stop = first + GROUP < points ? first + GROUP : points;
            for (i64 k = first; k < stop; k++) {
                vec *in = one, *next = other;
                for (i64 c = 0; c < widths[0]; c++) {
                    const vec *from = held + c * (directions + 1) * VECTORS;
#pragma GCC unroll 4
                    for (int r = 0; r < VECTORS; r++) {
                        vec sum = from[r];
                        for (i64 d = 0; d < directions; d++)
                            sum += factors[k * directions + d] * from[(d + 1) * VECTORS + r];
                        in[c * VECTORS + r] = rectify[0] ? rectified(sum) : sum;
                    }
                }
                for (i64 l = 1; l <= layers; l++) {
                    const i64 inputs = widths[l - 1], outputs = widths[l];
                    const real *bias = biases[l - 1] ? biases[l - 1] + k * outputs : 0;
                    layer(weights[l - 1] + k * inputs * outputs, bias, in, next, inputs, outputs, rectify[l]);
                    vec *swap = in;
                    in = next;
                    next = swap;
                }
                if (target) {
                    parts[tile * points + k] = squared(in, target + start, last, rows, count);
                    continue;
                }
                for (i64 c = 0; c < last; c++) {
                    real *to = out + (k * last + c) * rows + start;
                    if (count == TILE)
                        for (int r = 0; r < VECTORS; r++) *(loose *)(to + r * LANES) = in[c * VECTORS + r];
                    else
                        for (i64 i = 0; i < count; i++) to[i] = ((const real *)(in + c * VECTORS))[i];
                }
            }
        }
    }
    if (target)
        for (i64 k = 0; k < points; k++) {
            sums[k] = 0;
            for (i64 tile = 0; tile < tiles; tile++) sums[k] += parts[tile * points + k];
        }
}
"""


def _kernel(dtype: torch.dtype) -> Any:
    """Return the C function for *dtype*.

    Raises:
        NoCompiler: there is no compiler that works here.
    """
    whole = "int" if dtype is torch.float32 else "long long"
    function = load_kernel(_SOURCE.replace("REAL", _REALS[dtype]).replace("WHOLE", whole)).chain
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [
        *(pointer, integer, pointer, integer, integer, pointer, pointer, pointer, pointer, pointer),
        *(integer, integer, integer, pointer, pointer, pointer),
    ]
    function.restype = None
    return function


class CompiledChain(Chain):
    r"""A chain of linear layers, some of them rectified, computed for K points by :data:`_SOURCE`.

    The same numbers as :class:`Chain` within rounding, from the same products of the first layer with the data:

    .. math:: h_1 = \max(Z_0 + \alpha Z_1 + \beta Z_2, 0), \qquad h_{l+1} = \max(W_l h_l + b_l, 0)

    A tile of 64 rows in float32 (with AVX-512) passes through all layers of a point, eight points at a time.
    """

    def compile(self) -> None:
        """Find or make the kernel.

        Raises:
            NoCompiler: there is no compiler that works here.
        """
        self._function = _kernel(next(iter(self.cut.center.values())).dtype)
        self._layers = [step for step in self.steps if step.kind == "linear"]
        self._rectified = [
            int(after is not None and after.kind == "function")
            for step, after in zip(self.steps, [*self.steps[1:], None], strict=True)
            if step.kind == "linear"
        ]
        count = len(self._layers)
        self._widths = (ctypes.c_int64 * count)(*[step.width for step in self._layers])
        self._flags = (ctypes.c_int * count)(*self._rectified)

    @property
    def last(self) -> int:
        """The width of what leaves the last layer."""
        return self._layers[-1].width

    def place(self, coordinates: Tensor) -> None:
        center = next(iter(self.cut.center.values()))
        self._factors = coordinates.to(center.dtype).contiguous()
        self._params = {name: value.contiguous() for name, value in self.cut.params(coordinates, self.later).items()}

    def outputs(self, first: int, last: int) -> Tensor:
        product = self._products[0]
        out = self._take((last - first, self.last, product.shape[1]), product, {})
        self._run(first, last, out.data_ptr(), None, None, None)
        return out

    def squared_differences(self, first: int, last: int, target: Tensor) -> Tensor:
        """Return the sums of squares at the points *first* to *last*, **(K,)** float64.

        Args:
            first, last: points.
            target: **(C, B)**, contiguous, in the dtype of the outputs.
        """
        tiles = -(-target.shape[1] // _SMALLEST_TILE)
        parts = torch.empty(tiles * (last - first), dtype=torch.float64)
        sums = torch.empty(last - first, dtype=torch.float64)
        self._run(first, last, None, target.data_ptr(), parts.data_ptr(), sums.data_ptr())
        return sums

    def _run(
        self, first: int, last: int, out: int | None, target: int | None, parts: int | None, sums: int | None
    ) -> None:
        names = [parameter_names(step.path) for step in self._layers[1:]]
        self._function(
            _table(self._products),
            len(self._products) - 1,
            self._factors[first:].data_ptr(),
            self._products[0].shape[1],
            len(names),
            self._widths,
            self._flags,
            _table([self._params[weight][first:] for weight, _ in names]),
            _table([self._params[bias][first:] if bias in self._params else None for _, bias in names]),
            out,
            last - first,
            self.width,
            torch.get_num_threads(),
            target,
            parts,
            sums,
        )


def _table(tensors: list[Any]) -> Any:
    """Return the addresses of *tensors* as a C array, 0 for None."""
    return (ctypes.c_void_p * max(1, len(tensors)))(*[None if t is None else t.data_ptr() for t in tensors])


def compiled_chain(chain: Chain, work: float) -> CompiledChain | None:
    """Return *chain* on the kernel, or None where torch computes it.

    That is: little work, other functions than rectifiers, wide layers, another device, no compiler.

    Args:
        chain: what :func:`thalweg.surface.chain.chain_of` found.
        work: rows x points to come.
    """
    center = next(iter(chain.cut.center.values()))
    if center.device.type != "cpu" or center.dtype not in _REALS or chain.width > _WIDEST:
        return None
    previous = ""
    for step in chain.steps:
        rectifies = step.kind == "function" and step.function is torch.relu_ and previous == "linear"
        if step.kind != "linear" and not rectifies:
            return None
        previous = step.kind
    weights = sum(chain.cut.center[name].numel() for name in chain.later)
    if weights > _MOST_WEIGHTS or work * max(1, weights) < LEAST_WORK:
        return None
    found = CompiledChain(chain.steps, chain.cut)
    try:
        found.compile()
    except NoCompiler:
        return None
    return found

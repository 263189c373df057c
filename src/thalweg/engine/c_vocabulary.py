"""A token loss's three matrix products and its exponentials in C kernels; `thalweg.loss` calls them."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from thalweg.engine.c_compiler import NoCompiler, load_kernel

__all__ = ["vocabulary_kernel"]

#: Each group of classes has its own sum of gradients, added up in order: the same bits whichever thread is faster.
_GROUPS_PER_THREAD = 4
#: With more threads the sums of the groups would take more memory than is spared.
_MOST_THREADS = 16

# A tile of sums stays in registers: six classes (or rows) by as many lanes as there are registers for. Logits are kept
# class by class, so that the next product reads six rows side by side and the sum over classes runs along the lanes.
# The exponentials are taken where the sums stand. A block of classes is carried back to the hidden states while its
# rows of the head are still in the cache.
_SOURCE = r"""
typedef long long i64;
typedef float real;
#if defined(__AVX512F__)
#define BYTES 64
#define VECTORS 4
#elif defined(__AVX__)
#define BYTES 32
#define VECTORS 2
#else
#define BYTES 16
#define VECTORS 2
#endif
#define MOST 6
#define BLOCK 144
#define LANES (BYTES / (i64)sizeof(real))
#define TILE (VECTORS * LANES)
#pragma GCC optimize("O3", "fp-contract=fast")
#define INLINE static inline __attribute__((always_inline))
typedef real vec __attribute__((vector_size(BYTES)));
typedef real loose __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));
typedef int whole __attribute__((vector_size(BYTES)));
/* Minus zero, because plus zero would be an addition: it turns -0 into 0. */
#define ALL(number) ((number) - (vec){0})
#define CHOOSE(count, CALL) \
    switch (count) { \
    case 6: CALL(6); break; \
    case 5: CALL(5); break; \
    case 4: CALL(4); break; \
    case 3: CALL(3); break; \
    case 2: CALL(2); break; \
    default: CALL(1); \
    }

int omp_get_thread_num(void);
i64 tile(void) { return TILE; }
i64 block(void) { return BLOCK; }

/* sum[a][lane] += over k of left[a, k] * right[k, lane]; right is (depth, TILE). */
INLINE void product(const real *left, i64 step, i64 next, const real *right, i64 depth, vec sum[MOST][VECTORS],
                    const int count) {
    for (i64 k = 0; k < depth; k++) {
        vec b[VECTORS];
#pragma GCC unroll 4
        for (int r = 0; r < VECTORS; r++) b[r] = *(const loose *)(right + k * TILE + r * LANES);
#pragma GCC unroll 6
        for (int a = 0; a < count; a++) {
            const vec w = ALL(left[a * step + k * next]);
#pragma GCC unroll 4
            for (int r = 0; r < VECTORS; r++) sum[a][r] += w * b[r];
        }
    }
}

/* e^x for |x| < 87: x = n ln 2 + r with ln 2 in two parts, and a polynomial in r. */
INLINE vec exponential(vec x) {
    vec n = x * ALL(1.44269504088896341f) + ALL(12582912.0f);
    const whole power = (whole)n << 23;
    n -= ALL(12582912.0f);
    const vec r = x - n * ALL(0.693359375f) - n * ALL(-2.12194440e-4f);
    vec p = ALL(1.9875691500e-4f);
    p = p * r + ALL(1.3981999507e-3f);
    p = p * r + ALL(8.3334519073e-3f);
    p = p * r + ALL(4.1665795894e-2f);
    p = p * r + ALL(1.6666665459e-1f);
    p = p * r + ALL(5.0000001201e-1f);
    p = p * r * r + r + ALL(1.0f);
    return (vec)((whole)p + power);
}

/* Ask for a tile that is written when the product is done. */
INLINE void ask(const real *to, i64 width, const int count) {
#pragma GCC unroll 6
    for (int a = 0; a < count; a++)
#pragma GCC unroll 4
        for (int r = 0; r < VECTORS; r++) __builtin_prefetch(to + a * width + r * LANES, 1, 3);
}

/* e^logits of `count` classes and a tile of rows. */
INLINE void exponentials(const real *weight, i64 features, const real *panel, real *store, i64 rows, const int count) {
    vec sum[MOST][VECTORS] = {0};
    ask(store, rows, count);
    product(weight, features, 1, panel, features, sum, count);
#pragma GCC unroll 6
    for (int a = 0; a < count; a++)
#pragma GCC unroll 4
        for (int r = 0; r < VECTORS; r++) *(loose *)(store + a * rows + r * LANES) = exponential(sum[a][r]);
}

/* to (count, TILE) = or += base + left times right. */
INLINE void carry(const real *left, i64 step, i64 next, const real *right, i64 depth, const real *base, real *to,
                  i64 width, int fresh, const int count) {
    vec sum[MOST][VECTORS];
    ask(to, width, count);
#pragma GCC unroll 6
    for (int a = 0; a < count; a++)
#pragma GCC unroll 4
        for (int r = 0; r < VECTORS; r++) sum[a][r] = base ? (vec)*(const loose *)(base + r * LANES) : (vec){0};
    product(left, step, next, right, depth, sum, count);
#pragma GCC unroll 6
    for (int a = 0; a < count; a++)
#pragma GCC unroll 4
        for (int r = 0; r < VECTORS; r++) {
            loose *at = (loose *)(to + a * width + r * LANES);
            *at = fresh ? sum[a][r] : (vec)*at + sum[a][r];
        }
}

/* panels (rows / TILE, features, TILE): the hidden states. store (classes, rows): e^logits, 0 at the targets, whose
   e^logits go to chosen (rows). others (groups, rows): the sums of store over a group's classes. grad (groups, rows,
   features), unless it is null: the sums of store times weight. */
void forward(const real *panels, const real *weight, const i64 *target, real *store, i64 rows, i64 features,
             i64 classes, i64 groups, real *chosen, real *others, real *grad, real *packs, i64 threads) {
    const i64 blocks = (classes + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (i64 group = 0; group < groups; group++) {
        real *pack = packs + omp_get_thread_num() * BLOCK * TILE, *other = others + group * rows;
        real *carried = grad ? grad + group * rows * features : 0;
        for (i64 i = 0; i < rows; i++) other[i] = 0;
        if (carried)
            for (i64 i = 0; i < rows * features; i++) carried[i] = 0;
        for (i64 b = group * blocks / groups; b < (group + 1) * blocks / groups; b++) {
            const i64 start = b * BLOCK, stop = start + BLOCK < classes ? start + BLOCK : classes;
            for (i64 v = start; v < stop; v += MOST)
                for (i64 i = 0; i < rows; i += TILE) {
                    /* The classes of the next turn: each row of the head is a place that no processor guesses. */
                    const i64 share = MOST * features * TILE / rows, from = (v + MOST) * features + i / TILE * share;
                    if (from + share <= classes * features)
                        for (i64 j = 0; j < share; j += 16) __builtin_prefetch(weight + from + j, 0, 2);
#define CALL(n) exponentials(weight + v * features, features, panels + i * features, store + v * rows + i, rows, n)
                    CHOOSE(stop - v < MOST ? stop - v : MOST, CALL)
#undef CALL
                }
            for (i64 i = 0; i < rows; i++)
                if (start <= target[i] && target[i] < stop) {
                    chosen[i] = store[target[i] * rows + i];
                    store[target[i] * rows + i] = 0;
                }
            for (i64 i = 0; i < rows; i += LANES) {
                vec sum = {0};
                for (i64 v = start; v < stop; v++) sum += *(const loose *)(store + v * rows + i);
                *(loose *)(other + i) += sum;
            }
            for (i64 d = 0; carried && d < features; d += TILE) {
                for (i64 v = start; v < stop; v++)
                    for (int r = 0; r < VECTORS; r++)
                        *(loose *)(pack + (v - start) * TILE + r * LANES) =
                            *(const loose *)(weight + v * features + d + r * LANES);
                for (i64 i = 0; i < rows; i += MOST) {
                    real *to = carried + i * features + d;
#define CALL(n) carry(store + start * rows + i, 1, rows, pack, stop - start, 0, to, features, 0, n)
                    CHOOSE(rows - i < MOST ? rows - i : MOST, CALL)
#undef CALL
                }
            }
        }
    }
}

/* grad (classes, features) = or += base (features) + store times the hidden states, panels (features / TILE, rows,
   TILE). */
void backward(const real *panels, const real *store, i64 rows, i64 features, i64 classes, const real *base, real *grad,
              i64 fresh, i64 threads) {
#pragma omp parallel for schedule(dynamic, 8) num_threads(threads)
    for (i64 v = 0; v < classes; v += MOST)
        for (i64 d = 0; d < features; d += TILE) {
            const real *own = base ? base + d : 0;
            const i64 share = MOST * rows * TILE / features, from = (v + MOST) * rows + d / TILE * share;
            if (from + share <= classes * rows)
                for (i64 j = 0; j < share; j += 16) __builtin_prefetch(store + from + j, 0, 2);
            real *to = grad + v * features + d;
#define CALL(n) carry(store + v * rows, rows, 1, panels + d * rows, rows, own, to, features, fresh, n)
            CHOOSE(classes - v < MOST ? classes - v : MOST, CALL)
#undef CALL
        }
}
"""


class VocabularyKernel:
    """The products of chunks of rows with a head of V classes, in float32; see ``thalweg.loss.linear_kernel``.

    Attributes:
        tile: rows and features come in multiples of it.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        integer, pointer = ctypes.c_int64, ctypes.c_void_p
        for name in ("tile", "block"):
            getattr(library, name).restype = integer
        self.tile, self.block = int(library.tile()), int(library.block())
        self.forward, self.backward = library.forward, library.backward
        self.forward.restype = self.backward.restype = None
        self.forward.argtypes = [*[pointer] * 4, *[integer] * 4, *[pointer] * 4, integer]
        self.backward.argtypes = [*[pointer] * 2, *[integer] * 3, *[pointer] * 2, *[integer] * 2]

    def workspace(self, rows: int, weight: Tensor, grad: bool) -> VocabularySpace:
        """Return the memory for chunks of up to *rows* rows and the head *weight*, **(V, D)**.

        Args:
            rows: a multiple of :attr:`tile`, as D is.
            weight: contiguous.
            grad: whether the gradient of the hidden states is wanted.
        """
        return VocabularySpace(self, rows, weight, grad)


class VocabularySpace:
    """Memory that every chunk of a call uses again: 4 R D bytes, and 16 R D for each thread."""

    def __init__(self, kernel: VocabularyKernel, rows: int, weight: Tensor, grad: bool) -> None:
        self._kernel, self._weight, self._threads = kernel, weight, torch.get_num_threads()
        classes, self._features = weight.shape
        self._groups = max(1, min(_GROUPS_PER_THREAD * self._threads, classes // kernel.block))
        self._panels = weight.new_empty(rows * self._features)
        self._sums = weight.new_empty(self._groups * rows * self._features) if grad else None
        self._packs = weight.new_empty(self._threads * kernel.block * kernel.tile)

    def forward(self, hidden: Tensor, target: Tensor, store: Tensor, grad: Tensor | None) -> tuple[Tensor, Tensor]:
        """Fill *store* with e^logits, 0 at the targets.

        Args:
            hidden: **(n, D)**; no logit may exceed 80 in size.
            target: **(n,)**.
            store: **(V, R)**, R a multiple of the tile and at least n. Rows beyond n mean nothing.
            grad: set to the sums of *store* times the head, **(n, D)**, where it is given.

        Returns:
            e^logit of the targets and the sum of all others, **(n,)**.
        """
        count, rows = len(hidden), store.shape[1]
        tile, features = self._kernel.tile, self._features
        panels = self._panels[: rows * features].view(-1, features, tile)
        whole = count // tile
        panels[:whole].copy_(hidden[: whole * tile].reshape(whole, tile, features).transpose(1, 2))
        if whole < len(panels):
            panels[whole].zero_()[:, : count - whole * tile].copy_(hidden[whole * tile :].t())
        aim = target.new_full((rows,), -1)
        aim[:count] = target
        chosen, others = hidden.new_empty(rows), hidden.new_empty(self._groups, rows)
        sums = None
        if grad is not None and self._sums is not None:
            sums = self._sums[: self._groups * rows * features].view(self._groups, rows, features)
        self._kernel.forward(
            *(tensor.data_ptr() for tensor in (panels, self._weight, aim, store)),
            *(rows, features, len(self._weight), self._groups, chosen.data_ptr(), others.data_ptr()),
            *(None if sums is None else sums.data_ptr(), self._packs.data_ptr(), self._threads),
        )
        if sums is not None:
            torch.sum(sums[:, :count], 0, out=grad)
        return chosen[:count], others.sum(0)[:count]

    def heads(self, target: Tensor) -> Tensor:
        """Return the head's rows of *target*, **(n, D)**, in memory that the next call takes."""
        place = self._panels[: len(target) * self._features].view(len(target), self._features)
        return torch.index_select(self._weight, 0, target, out=place)

    def backward(
        self, hidden: Tensor, scale: Tensor, store: Tensor, base: Tensor | None, grad: Tensor, fresh: bool
    ) -> None:
        """Set *grad*, **(V, D)**, to *base*, **(D,)**, plus *store* times *hidden*; or add that to it.

        Args:
            hidden: **(n, D)**.
            scale: **(n,)** what each of its rows is multiplied with.
            store: **(V, R)**.
            base: **(D,)** or None for 0.
            grad: **(V, D)**.
            fresh: whether *grad* is set.
        """
        rows, tile = store.shape[1], self._kernel.tile
        panels = self._panels[: rows * self._features].view(-1, rows, tile)
        torch.mul(hidden.view(len(hidden), -1, tile).transpose(0, 1), scale[:, None], out=panels[:, : len(hidden)])
        panels[:, len(hidden) :].zero_()
        self._kernel.backward(
            *(panels.data_ptr(), store.data_ptr(), rows, self._features, len(grad)),
            *(None if base is None else base.data_ptr(), grad.data_ptr(), int(fresh), self._threads),
        )


@lru_cache(maxsize=1)
def _loaded() -> VocabularyKernel | None:
    try:
        return VocabularyKernel(load_kernel(_SOURCE))
    except NoCompiler:
        return None


def vocabulary_kernel() -> Any:
    """Return the kernel, compiled once per machine in about a second and kept on disk; None where there is none.

    >>> kernel = vocabulary_kernel()
    >>> if kernel is not None:
    ...     hidden, weight, store = torch.ones(2, 64), torch.zeros(500, 64), torch.empty(500, kernel.tile)
    ...     chosen, others = kernel.workspace(kernel.tile, weight, False).forward(
    ...         hidden, torch.tensor([3, 4]), store, None
    ...     )
    ...     assert chosen.tolist() == [1.0, 1.0] and others.tolist() == [499.0, 499.0]
    """
    return _loaded() if torch.get_num_threads() <= _MOST_THREADS else None

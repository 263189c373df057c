"""C for many updates of many members whose model is a chain of linear layers: no operation is started per layer.

A member's weights, gradients and activations stay in the processor's first caches while its batches pass by. Members do
not wait for each other, so the threads meet once per block of batches only.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

from thalweg.engine.c_compiler import real_function

__all__ = ["ACTIVATIONS", "JOB", "LOSSES", "MEMBER", "chain_function"]

#: The numbers of what may follow a layer, and of what the last one's output costs.
ACTIVATIONS = ("none", "relu", "tanh", "sigmoid")
LOSSES = ("cross_entropy", "mse")

#: What a job and a member consist of: integers and addresses, in the order of the C structures.
JOB = (
    *("steps", "members", "layers", "loss", "train", "threads", "per_block", "own", "size", "scalars"),
    *("xs", "ys", "rows", "widths", "activations", "each", "smoothing", "value_limits", "norm_limits", "losses"),
)
MEMBER = ("update", "table", "width", "groups", "sizes", "hypers", "per_step", "per_group", "offsets", "places")

# Products and sums may be contracted here, as in a library's matrix product; the updates are another file's.
_SOURCE = r"""
#ifdef __clang__
#pragma clang fp contract(fast)
#else
#pragma GCC optimize("tree-vectorize", "fp-contract=fast")
#endif
typedef long long i64;
typedef unsigned int u32;
typedef @REAL@ real;
#if defined(__AVX512F__)
#define BYTES 64
#define ACROSS 4
#elif defined(__AVX__)
#define BYTES 32
#define ACROSS 2
#else
#define BYTES 16
#define ACROSS 2
#endif
#define LANES ((i64)(BYTES / sizeof(real)))
#define DOWN 6
typedef real vec __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));
#define INLINE static inline __attribute__((always_inline))

int omp_get_thread_num(void);
void *malloc(unsigned long);
void free(void *);
double exp(double); double log(double); double tanh(double); float tanhf(float); float logf(float);

typedef struct {
    i64 steps, members, layers, loss, train, threads, per_block, own, size, scalars;
    const i64 *xs, *ys, *rows, *widths, *activations, *each;
    const double *smoothing, *value_limits, *norm_limits;
    double *losses;
} job_t;
typedef void (*update_t)(const i64 *, i64, const i64 *, const i64 *, i64, const double *, const double *, const float *,
                         double *, u32, i64, i64);
typedef struct {
    update_t update;
    const i64 *table;
    i64 width, groups;
    const i64 *sizes;
    const double *hypers;
    i64 per_step, per_group;
    const i64 *offsets, *places;
} member_t;

static i64 padded(i64 n) { return (n + LANES - 1) / LANES * LANES; }

/* M rows and N vectors of c = bias + a b, kept in registers; of the last vector `last` lanes are stored. */
INLINE void tile(const int M, const int N, i64 k, const real *a, i64 sa, i64 ta, const real *b, i64 ldb,
                 const real *bias, real *c, i64 ldc, i64 last) {
    vec sum[DOWN][ACROSS];
#pragma GCC unroll 8
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
        for (int j = 0; j < N; j++) sum[i][j] = (vec){0} + (bias ? bias[i] : 0);
    for (i64 l = 0; l < k; l++) {
        vec right[ACROSS];
#pragma GCC unroll 8
        for (int j = 0; j < N; j++) right[j] = *(const vec *)(b + l * ldb + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < M; i++) {
            const real left = a[i * sa + l * ta];
#pragma GCC unroll 8
            for (int j = 0; j < N; j++) sum[i][j] += left * right[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
        for (int j = 0; j < N; j++) {
            real *to = c + i * ldc + j * LANES;
            if (j < N - 1 || last == LANES) *(vec *)to = sum[i][j];
            else for (i64 l = 0; l < last; l++) to[l] = sum[i][j][l];
        }
}

/* c (m, n) = bias + a (m, k) b (k, n), a's steps being (sa, ta); b may be read to the end of a vector. */
static void product(i64 m, i64 n, i64 k, const real *a, i64 sa, i64 ta, const real *b, i64 ldb, const real *bias,
                    real *c, i64 ldc) {
    for (i64 j = 0; j < n;) {
        const i64 left = (n - j + LANES - 1) / LANES;
        const i64 across = left >= ACROSS ? ACROSS : left >= 2 ? 2 : 1;
        const i64 last = j + across * LANES <= n ? LANES : n - j - (across - 1) * LANES;
#define TILE(M, N) tile(M, N, k, a + i * sa, sa, ta, b + j, ldb, bias ? bias + i : 0, c + i * ldc + j, ldc, last)
#define ROWS(N)                                                                                                        \
        for (i64 i = 0; i < m;) {                                                                                      \
            const i64 rest = m - i;                                                                                    \
            if (rest >= 6) { TILE(6, N); i += 6; }                                                                     \
            else if (rest >= 4) { TILE(4, N); i += 4; }                                                                \
            else if (rest >= 2) { TILE(2, N); i += 2; }                                                                \
            else { TILE(1, N); i += 1; }                                                                               \
        }
        if (across == ACROSS) { ROWS(ACROSS) }
        else if (across == 2) { ROWS(2) }
        else { ROWS(1) }
        j += across * LANES;
    }
}

static void turned(i64 rows, i64 columns, const real *from, i64 ldf, real *to, i64 ldt) {
    for (i64 i = 0; i < rows; i += 8)
        for (i64 j = 0; j < columns; j++)
            for (i64 l = i; l < i + 8 && l < rows; l++) to[j * ldt + l] = from[l * ldf + j];
}

/* A batch (rows, p) twice: with rows and with columns that vectors may read to their end. */
static void taken_in(i64 rows, i64 p, const real *x, real *straight, real *across) {
    const i64 wide = padded(p), ld = padded(rows);
    for (i64 i = 0; i < rows; i++) {
        for (i64 j = 0; j < p; j++) straight[i * wide + j] = x[i * p + j];
        for (i64 j = p; j < wide; j++) straight[i * wide + j] = 0;
    }
    turned(rows, p, straight, wide, across, ld);
    for (i64 j = 0; j < p; j++)
        for (i64 i = rows; i < ld; i++) across[j * ld + i] = 0;
}

/* exp of x <= 0: 2^n times the series of the rest, |rest| <= 0.35, whose ninth term is below 5e-9. */
INLINE real falling(real x) {
    if (sizeof(real) == 8) return exp(x);
    const float least = x < -87.0f ? -87.0f : x;
    const int n = (int)(least * 1.44269504f - 0.5f);
    const float rest = (least - n * 0.693145752f) - n * 1.42860677e-6f;
    float sum = 1.98412698e-4f;
    sum = sum * rest + 1.38888889e-3f;
    sum = sum * rest + 8.33333333e-3f;
    sum = sum * rest + 4.16666667e-2f;
    sum = sum * rest + 1.66666667e-1f;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    const union { int bits; float value; } power = { .bits = (n + 127) << 23 };
    return x < -87.0f ? 0 : sum * power.value;
}

static void activate(i64 kind, i64 count, real *h) {
    if (kind == 1) for (i64 i = 0; i < count; i++) h[i] = h[i] < 0 ? 0 : h[i];
    else if (kind == 2) for (i64 i = 0; i < count; i++) h[i] = sizeof(real) == 8 ? tanh(h[i]) : tanhf(h[i]);
    else if (kind == 3) for (i64 i = 0; i < count; i++) {
        const real e = falling(h[i] < 0 ? h[i] : -h[i]);
        h[i] = (h[i] < 0 ? e : 1) / (1 + e);
    }
}

static void deactivate(i64 kind, i64 count, const real *h, real *d) {
    if (kind == 1) for (i64 i = 0; i < count; i++) d[i] = h[i] <= 0 ? 0 : d[i];
    else if (kind == 2) for (i64 i = 0; i < count; i++) d[i] *= 1 - h[i] * h[i];
    else if (kind == 3) for (i64 i = 0; i < count; i++) d[i] *= h[i] * (1 - h[i]);
}

/* The summed cross entropy of z (classes, rows), and into d its gradient divided by `rows`. */
static double cross_entropy(i64 classes, i64 rows, i64 ld, const real *z, const i64 *y, double smoothing, real *d,
                            real *largest, real *sums) {
    double total = 0;
    for (i64 i = 0; i < rows; i++) { largest[i] = z[i]; sums[i] = 0; }
    for (i64 c = 1; c < classes; c++)
        for (i64 i = 0; i < rows; i++) {
            const real value = z[c * ld + i];
            largest[i] = value > largest[i] || value != value ? value : largest[i];
        }
    for (i64 c = 0; c < classes; c++) {
#pragma omp simd
        for (i64 i = 0; i < rows; i++) {
            const real e = falling(z[c * ld + i] - largest[i]);
            d[c * ld + i] = e;
            sums[i] += e;
        }
    }
    for (i64 i = 0; i < rows; i++) {
        const double whole = (sizeof(real) == 8 ? log(sums[i]) : logf(sums[i])) + (double)largest[i];
        double cost = (1 - smoothing) * (whole - z[y[i] * ld + i]);
        if (smoothing != 0) {
            double mean = 0;
            for (i64 c = 0; c < classes; c++) mean += z[c * ld + i];
            cost += smoothing * (whole - mean / classes);
        }
        total += cost;
        sums[i] = 1 / (sums[i] * rows);
    }
    const real even = smoothing / classes / rows, hit = (1 - smoothing) / rows;
    for (i64 c = 0; c < classes; c++)
        for (i64 i = 0; i < rows; i++) d[c * ld + i] = d[c * ld + i] * sums[i] - even;
    for (i64 i = 0; i < rows; i++) d[y[i] * ld + i] -= hit;
    return total;
}

/* The summed squares of o - y, and into d the gradient of their mean. */
static double squares(i64 width, i64 rows, i64 ld, const real *o, const real *y, real *d) {
    double total = 0;
    const real scale = (real)2 / (width * rows);
    for (i64 c = 0; c < width; c++) {
        double column = 0;
#pragma omp simd reduction(+ : column)
        for (i64 i = 0; i < rows; i++) {
            const real apart = o[c * ld + i] - y[i * width + c];
            column += (double)apart * apart;
            d[c * ld + i] = apart * scale;
        }
        total += column;
    }
    return total;
}

static void limit(real *g, i64 count, double most_value, double most_norm) {
    if (most_value < __builtin_inf())
        for (i64 i = 0; i < count; i++) {
            const real most = most_value;
            g[i] = g[i] > most ? most : g[i] < -most ? -most : g[i];
        }
    if (most_norm < __builtin_inf()) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (i64 i = 0; i < count; i++) sum += (double)g[i] * g[i];
        const double factor = most_norm / (__builtin_sqrt(sum) + 1e-6);
        if (!(factor >= 1)) for (i64 i = 0; i < count; i++) g[i] *= (real)factor;
    }
}

/* One batch of one member: its loss before the update, and the update. */
static double step(const job_t *job, i64 number, i64 at, const real *straight, const real *across, real *room) {
    const member_t *member = (const member_t *)job->each + number;
    const i64 layers = job->layers, rows = job->rows[at], ld = padded(rows), *widths = job->widths;
    real *grads = room;
    room += padded(job->size) + LANES;
    const real *lying[64], *standing[64];
    lying[0] = across;
    standing[0] = straight;
    real *d = 0, *other = 0;
    i64 widest = 0;
    for (i64 l = 0; l < layers; l++) {
        const i64 width = widths[l + 1];
        real *h = room;
        room += width * ld;
        const real *weight = (const real *)member->places[2 * l], *bias = (const real *)member->places[2 * l + 1];
        product(width, ld, widths[l], weight, widths[l], 1, lying[l], ld, bias, h, ld);
        activate(job->activations[l], width * ld, h);
        lying[l + 1] = h;
        if (width > widest) widest = width;
        if (job->train && l < layers - 1) {
            standing[l + 1] = room;
            turned(width, rows, h, ld, room, padded(width));
            room += rows * padded(width);
        }
    }
    for (i64 l = 1; l < layers; l++) if (widths[l] > widest) widest = widths[l];
    d = room; room += widest * ld;
    other = room; room += widest * ld;
    const i64 outputs = widths[layers];
    const char *targets = (const char *)job->ys[at] + (job->own ? number * rows : 0) *
                          (job->loss == 0 ? sizeof(i64) : sizeof(real) * outputs);
    double total;
    if (job->loss == 0) {
        const double share = job->smoothing ? job->smoothing[number] : 0;
        total = cross_entropy(outputs, rows, ld, lying[layers], (const i64 *)targets, share, d, room, room + ld);
    } else {
        total = squares(outputs, rows, ld, lying[layers], (const real *)targets, d) / outputs;
    }
    if (!job->train) return total;
    deactivate(job->activations[layers - 1], outputs * ld, lying[layers], d);
    for (i64 l = layers - 1; l >= 0; l--) {
        const i64 from = widths[l], to = widths[l + 1], *offsets = member->offsets + 2 * l;
        product(to, from, rows, d, ld, 1, standing[l], padded(from), 0, grads + offsets[0], from);
        if (offsets[1] >= 0)
            for (i64 c = 0; c < to; c++) {
                real sum = 0;
#pragma omp simd reduction(+ : sum)
                for (i64 i = 0; i < rows; i++) sum += d[c * ld + i];
                grads[offsets[1] + c] = sum;
            }
        if (l > 0) {
            product(from, ld, to, (const real *)member->places[2 * l], 1, from, d, ld, 0, other, ld);
            deactivate(job->activations[l - 1], from * ld, lying[l], other);
            real *swap = d; d = other; other = swap;
        }
    }
    limit(grads, job->size, job->value_limits ? job->value_limits[number] : __builtin_inf(),
          job->norm_limits ? job->norm_limits[number] : __builtin_inf());
    i64 row[64], chunk[3] = {0, 0, 0}, bounds[2] = {0, 1};
    double *scalars = (double *)(((unsigned long)(room + 2 * ld) + 63) & ~63ul);
    for (i64 g = 0, first = 0; g < member->groups; first += member->sizes[g], g++) {
        for (i64 i = 0; i < member->width; i++) row[i] = member->table[g * member->width + i];
        row[4] = (i64)(grads + first);
        chunk[2] = member->sizes[g];
        member->update(row, 1, chunk, bounds, 1, member->hypers + at * member->per_step + g * member->per_group, 0, 0,
                       scalars, 0, 1, 0);
    }
    return total / rows;
}

/* Every member over every batch; 1 where memory did not suffice, 2 for a class that is none: then nothing was done. */
i64 chains(const job_t *job) {
    i64 rows = 0, both = 0, widest = 0;
    const i64 p = job->widths[0], classes = job->widths[job->layers];
    for (i64 s = 0; s < job->steps; s++) {
        if (job->rows[s] > rows) rows = job->rows[s];
        const i64 *y = (const i64 *)job->ys[s], targets = job->rows[s] * (job->own ? job->members : 1);
        if (job->loss == 0) for (i64 i = 0; i < targets; i++) if (y[i] < 0 || y[i] >= classes) return 2;
    }
    const i64 ld = padded(rows), batch = rows * padded(p) + p * ld + 2 * LANES;
    for (i64 l = 1; l <= job->layers; l++) {
        both += job->widths[l] * ld + rows * padded(job->widths[l]);
        if (job->widths[l] > widest) widest = job->widths[l];
    }
    const i64 threads = job->threads < job->members ? job->threads : job->members;
    const i64 each = padded(job->size) + both + 2 * widest * ld + 2 * ld + 8 * LANES + (job->own ? batch : 0) +
                     padded((job->scalars + 16) * sizeof(double) / sizeof(real));
    const i64 shared = job->own ? 0 : job->per_block * batch;
    void *got = malloc((shared + threads * each + LANES) * sizeof(real));
    if (!got) return 1;
    real *room = (real *)(((unsigned long)got + BYTES - 1) / BYTES * BYTES);
    for (i64 begin = 0; begin < job->steps; begin += job->per_block) {
        const i64 end = begin + job->per_block < job->steps ? begin + job->per_block : job->steps;
#pragma omp parallel num_threads(threads)
        {
#pragma omp for schedule(static)
            for (i64 s = begin; s < (job->own ? begin : end); s++) {
                real *to = room + (s - begin) * batch;
                taken_in(job->rows[s], p, (const real *)job->xs[s], to, to + rows * padded(p) + LANES);
            }
#pragma omp for schedule(dynamic, 1)
            for (i64 k = 0; k < job->members; k++) {
                real *mine = room + shared + each * omp_get_thread_num();
                for (i64 s = begin; s < end; s++) {
                    real *to = room + (s - begin) * batch;
                    if (job->own) {
                        to = mine + each - batch;
                        taken_in(job->rows[s], p, (const real *)job->xs[s] + k * job->rows[s] * p, to,
                                 to + rows * padded(p) + LANES);
                    }
                    job->losses[s * job->members + k] = step(job, k, s, to, to + rows * padded(p) + LANES, mine);
                }
            }
        }
    }
    free(got);
    return 0;
}
"""


@lru_cache(maxsize=2)
def chain_function(dtype: str) -> Any:
    """Return ``chains``, which takes a job's address, for NumPy's float type of that name; None without a compiler."""
    return real_function(_SOURCE, dtype, "chains", [ctypes.c_void_p], ctypes.c_longlong)

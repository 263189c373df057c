"""The norm of all gradients in one pass, whose result does not depend on the number of threads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.engine.bucket import CHUNK, address, chunks_of, pointers
from thalweg.engine.c_compiler import NoCompiler, load_kernel
from thalweg.engine.c_source import PREAMBLE, load, stored
from thalweg.engine.clip import total_norm
from thalweg.engine.memory_layout import is_dense
from thalweg.engine.sharded import is_sharded

__all__ = ["GradientNorm"]

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_POINTER, _INTEGER = ctypes.c_void_p, ctypes.c_int64


def _source(dtype: torch.dtype) -> str:
    kind = stored(dtype)
    return f"""{PREAMBLE}
void norm(const i64 *places, const i64 *chunks, const i64 *bounds, i64 items, i64 tensors,
          double *parts, double *each, double *total, i64 threads) {{
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
for (i64 item = 0; item < items; item++) {{
for (i64 chunk = bounds[item]; chunk < bounds[item + 1]; chunk++) {{
const {kind} *restrict values = (const {kind} *)places[chunks[3 * chunk]];
const i64 start = chunks[3 * chunk + 1], stop = chunks[3 * chunk + 2];
const i64 quarter = (stop - start) / 4;
double a = 0, b = 0, c = 0, d = 0;
/* Four sums side by side, because one addition waits for the one before it. */
#pragma omp simd reduction(+ : a, b, c, d)
for (i64 i = start; i < start + quarter; i++) {{
const double p = {load("values[i]", dtype, torch.float64)};
const double q = {load("values[i + quarter]", dtype, torch.float64)};
const double r = {load("values[i + 2 * quarter]", dtype, torch.float64)};
const double s = {load("values[i + 3 * quarter]", dtype, torch.float64)};
a += p * p; b += q * q; c += r * r; d += s * s;
}}
for (i64 i = start + 4 * quarter; i < stop; i++) {{
const double p = {load("values[i]", dtype, torch.float64)};
a += p * p;
}}
parts[chunk] = (a + b) + (c + d);
}}
}}
double sum = 0;
for (i64 tensor = 0; tensor < tensors; tensor++) each[tensor] = 0;
for (i64 chunk = 0; chunk < bounds[items]; chunk++) each[chunks[3 * chunk]] += parts[chunk];
for (i64 tensor = 0; tensor < tensors; tensor++) {{
sum += each[tensor];
each[tensor] = __builtin_sqrt(each[tensor]);
}}
*total = __builtin_sqrt(sum);
}}
"""


class GradientNorm:
    """Computes :func:`thalweg.engine.total_norm`, summed in float64 over pieces that depend on the sizes alone.

    Gradients that the kernel does not take (mixed dtypes, other devices, sparse, sharded, gaps in memory) go the usual
    way.
    """

    def __init__(self) -> None:
        self._strides: list[tuple[int, ...]] = []
        self._sizes: list[int] = []
        self._dtype: torch.dtype | None = None
        self._function: Callable[..., None] | None = None
        self._places: Any = None
        self._found: list[int] = []

    def __call__(self, grads: list[Tensor]) -> Tensor:
        """Return the 2-norm of all gradients as a 0-dim tensor."""
        if not grads or not self._takes(grads):
            return total_norm(grads)
        return self._computed(grads)[-1]

    def each(self, grads: list[Tensor]) -> Tensor | None:
        """Return the 2-norm of each gradient **(n,)**, or None where the kernel does not take them."""
        return self._computed(grads)[:-1] if grads and self._takes(grads) else None

    def _computed(self, grads: list[Tensor]) -> Tensor:
        """Return the norms and, as the last one, that of all of them together."""
        assert self._function is not None
        found = pointers(grads)
        if found != self._found:
            self._found, self._places = found, np.asarray(found, dtype=np.int64)
        norms = torch.empty(len(grads) + 1, dtype=torch.float64)
        place = norms.data_ptr()
        self._function(
            address(self._places),
            address(self._chunks),
            address(self._bounds),
            self._items,
            len(grads),
            address(self._parts),
            place,
            place + 8 * len(grads),
            torch.get_num_threads() if self._many else 1,
        )
        return norms if self._dtype is torch.float64 else norms.float()

    def _takes(self, grads: list[Tensor]) -> bool:
        dtypes = {grad.dtype for grad in grads}
        if len(dtypes) != 1 or {grad.layout for grad in grads} != {torch.strided}:
            return False
        if dtypes != {self._dtype} or list(map(Tensor.numel, grads)) != self._sizes:
            return self._prepare(grads)
        return [grad.stride() for grad in grads] == self._strides or self._prepare(grads)

    def _prepare(self, grads: list[Tensor]) -> bool:
        dtype = grads[0].dtype
        if dtype not in _DTYPES or not all(grad.device.type == "cpu" and is_dense(grad) for grad in grads):
            return False
        if any(map(is_sharded, grads)):  # which have no address of their own, and a norm over all processes
            return False
        if dtype is not self._dtype or self._function is None:
            try:
                self._function = load_kernel(_source(dtype)).norm
            except NoCompiler:
                return False
            self._function.argtypes = [*[_POINTER] * 3, _INTEGER, _INTEGER, *[_POINTER] * 3, _INTEGER]
            self._function.restype = None
        self._dtype = dtype
        self._strides, self._sizes = [grad.stride() for grad in grads], list(map(Tensor.numel, grads))
        self._chunks, self._bounds = chunks_of(self._sizes)
        self._items = len(self._bounds) - 1
        self._parts = np.zeros(max(len(self._chunks), 1))
        self._many = sum(self._sizes) > 2 * CHUNK
        self._found = []
        return True

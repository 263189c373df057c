"""CUDA for rules of single elements: the loops of :mod:`thalweg.engine.c_elements`, one block per piece of work."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from thalweg.engine.c_elements import HEADER, columns, conditions, loop_lines, loops_of, numbered
from thalweg.engine.c_source import c_type
from thalweg.engine.trace import Node, Trace, Untraceable

__all__ = ["CudaSource", "cuda_source"]

PREAMBLE = r"""
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
#define restrict __restrict__
#define __builtin_sqrtf sqrtf
#define __builtin_sqrt sqrt
#define __builtin_fabsf fabsf
#define __builtin_fabs fabs
#define __builtin_floorf floorf
#define __builtin_floor floor
__device__ __forceinline__ float from_bf16(u16 half) { return __uint_as_float((u32)half << 16); }
__device__ __forceinline__ u16 to_bf16(float value) {
    u32 bits = __float_as_uint(value), rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    return (u16)((value != value ? bits | 0x400000u : rounded) >> 16);
}
__device__ __forceinline__ u16 to_bf16_at_random(float value, u32 noise) {
    u32 drawn = __float_as_uint(value) + (noise >> 16);
    return (u16)(value != value ? 0x7fc0u : drawn >> 16);
}
__device__ __forceinline__ u32 mixed(u32 x) {
    x ^= x >> 16; x *= 0x7feb352du; x ^= x >> 15; x *= 0x846ca68bu; x ^= x >> 16;
    return x;
}
__device__ __forceinline__ u32 spread(u32 x) { x *= 0x9e3779b1u; return x ^ (x >> 16); }
"""


class CudaSource:
    """The text of a kernel, and the per-tensor values that it is given, in their order."""

    def __init__(self, text: str, scalars: list[Node]) -> None:
        self.text, self.scalars = text, scalars


def cuda_source(trace: Trace, kept: Mapping[str, torch.dtype], *, at_random: bool = False) -> CudaSource:
    """Return the CUDA source of ``update``; the per-tensor scalars are computed on the host and handed in.

    Args:
        trace: the rule's update.
        kept: the dtype in memory of ``"param"``, ``"grad"`` and every state shaped like the parameter.
        at_random: round bfloat16 stochastically.

    Raises:
        Untraceable: float16, whose conversions need CUDA's headers.
    """
    if torch.float16 in kept.values():
        raise Untraceable("float16 on a GPU")
    names, where, tests = numbered(trace), columns(trace), conditions(trace)
    loops, needed = loops_of(trace, names, tests)
    width, count = HEADER + len(where), max(len(needed), 1)
    lines = [
        PREAMBLE,
        'extern "C" __global__ void update(const i64 *table, const i64 *chunks, const double *scratch,',
        "const double *scale, int has_scale, int seed_bits) {",
        "const u32 seed = (u32)seed_bits;",
        "const i64 chunk = blockIdx.x;",
        "const i64 tensor = chunks[3 * chunk], start = chunks[3 * chunk + 1], stop = chunks[3 * chunk + 2];",
        f"const i64 *row = table + tensor * {width};",
        f"const double *scalar = scratch + tensor * {count};",
        "if (!has_scale) scale = 0;",
    ]
    for slot, (key, node) in enumerate(needed.items()):
        lines.append(f"const {c_type(node.dtype)} {names[key]} = ({c_type(node.dtype)})scalar[{slot}];")
    for number, (choice, loop) in enumerate(loops):
        if tests:
            test = " && ".join(f"{'' if t else '!'}{names[id(n)]}" for n, t in zip(tests, choice, strict=True))
            lines.append(f"{'else ' if number else ''}if ({test}) {{")
        opening = ["#pragma unroll 4", "for (i64 i = start + threadIdx.x; i < stop; i += blockDim.x) {"]
        lines += loop_lines(trace, loop, names, where, kept, at_random, opening)
        if tests:
            lines.append("}")
    lines += ["}", ""]
    return CudaSource("\n".join(lines), list(needed.values()))

"""C for the operations of a traced update: expressions, loads and stores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from thalweg.engine.trace import Node, Untraceable

__all__ = ["PREAMBLE", "Source", "c_type", "expression", "literal", "load", "store", "stored"]


@dataclass(frozen=True)
class Source:
    """A kernel's text, and the doubles it keeps: per tensor (per thread where that is one piece), row and column."""

    text: str
    scalars: int
    per_row: int = 0
    per_column: int = 0


_C_TYPES = {torch.float32: "float", torch.float64: "double", torch.bool: "int", torch.int64: "double"}
_STORED = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "u16",
    torch.float16: "_Float16",
}

#: No header is read: that would be half of the time to compile.
PREAMBLE = r"""
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;

double log(double); double exp(double); double expm1(double); double pow(double, double); double fmod(double, double);

static inline float from_bf16(u16 half) {
    union { u32 bits; float value; } word = { .bits = (u32)half << 16 };
    return word.value;
}
/* To nearest, ties to even; a NaN keeps its upper half and stays one. */
static inline u16 to_bf16(float value) {
    union { float value; u32 bits; } word = { .value = value };
    u32 rounded = word.bits + 0x7fffu + ((word.bits >> 16) & 1u);
    return (u16)((value != value ? word.bits | 0x400000u : rounded) >> 16);
}
/* Up with the probability of what is cut off: sixteen random bits carry into the upper half. */
static inline u16 to_bf16_at_random(float value, u32 noise) {
    union { float value; u32 bits; } word = { .value = value };
    /* Nothing carries into infinity's upper half, whose lower one is zero; a NaN's might. */
    u32 drawn = word.bits + (noise >> 16);
    return (u16)(value != value ? 0x7fc0u : drawn >> 16);
}
static inline u32 mixed(u32 x) {
    x ^= x >> 16; x *= 0x7feb352du; x ^= x >> 15; x *= 0x846ca68bu; x ^= x >> 16;
    return x;
}
/* Uniform over neighbouring elements by the golden ratio; from step to step the key is new. */
static inline u32 spread(u32 x) {
    x *= 0x9e3779b1u;
    return x ^ (x >> 16);
}
/* The sign of the divisor, as in Python. */
static inline double modulo(double a, double b) {
    double rest = fmod(a, b);
    return rest != 0 && ((rest < 0) != (b < 0)) ? rest + b : rest;
}
"""

_BINARY = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_LOGIC = {"bitwise_and": "&&", "logical_and": "&&", "__and__": "&&", "bitwise_or": "||", "logical_or": "||"}
_CONSTANTS = {"ones_like": 1.0, "zeros_like": 0.0}
_SCALAR_ONLY = {"log": "log", "exp": "exp", "expm1": "expm1"}


def c_type(dtype: torch.dtype) -> str:
    """Return the C type that values of *dtype* are computed in."""
    if dtype not in _C_TYPES:
        raise Untraceable(f"values of {dtype}")
    return _C_TYPES[dtype]


def stored(dtype: torch.dtype) -> str:
    """Return the C type that values of *dtype* lie in memory as."""
    if dtype not in _STORED:
        raise Untraceable(f"tensors of {dtype}")
    return _STORED[dtype]


def load(place: str, kept: torch.dtype, wanted: torch.dtype) -> str:
    """Return the value at *place*, stored as *kept*, as *wanted*."""
    read = f"from_bf16({place})" if kept is torch.bfloat16 else place
    return f"({c_type(wanted)}){read}"


def store(place: str, kept: torch.dtype, value: str, noise: str | None = None) -> str:
    """Return the statement that stores *value* at *place* as *kept*; bfloat16 at random with *noise*."""
    if kept is torch.bfloat16:
        rounded = f"to_bf16((float){value})" if noise is None else f"to_bf16_at_random((float){value}, {noise})"
        return f"{place} = {rounded};"
    return f"{place} = ({stored(kept)}){value};"


def literal(value: float) -> str:
    """Return a number as a C double.

    >>> literal(2), literal(1e-8)
    ('2.0', '1e-08')
    """
    value = float(value)
    if math.isnan(value):
        return '__builtin_nan("")'
    if math.isinf(value):
        return "__builtin_inf()" if value > 0 else "-__builtin_inf()"
    return repr(value)


def expression(node: Node, names: Mapping[int, str]) -> str:
    """Return the C expression of *node*, whose arguments have *names* (by identity).

    Raises:
        Untraceable: an operation that this file does not know.
    """
    kind = c_type(node.dtype)

    def value(argument: Any, wanted: str = kind) -> str:
        if isinstance(argument, Node):
            name = names[id(argument)]
            return name if c_type(argument.dtype) == wanted else f"({wanted}){name}"
        if not isinstance(argument, (bool, int, float)):
            raise Untraceable(f"{node.op} with {argument!r}")
        return f"({wanted}){literal(argument)}"

    args, op = node.args, node.op
    root = "__builtin_sqrtf" if kind == "float" else "__builtin_sqrt"
    if op in ("add", "sub", "rsub"):
        alpha = node.options.get("alpha", args[2] if len(args) > 2 else 1)
        first, second = (args[1], args[0]) if op == "rsub" else (args[0], args[1])
        times = "" if alpha == 1 else f"{value(alpha)} * "
        return f"{value(first)} {'+' if op == 'add' else '-'} {times}{value(second)}"
    if op == "div" and node.kind != "tensor" and isinstance(args[1], Node) and args[1].kind == "tensor":
        return f"{value(args[0])} * (({kind})1 / {value(args[1])})"  # one division for all elements
    if op in _BINARY and len(args) == 2:
        return f"{value(args[0])} {_BINARY[op]} {value(args[1])}"
    if op in _COMPARISONS:
        wide = any(isinstance(a, Node) and a.dtype is torch.float64 for a in args)
        wanted = "double" if wide else "float"
        return f"{value(args[0], wanted)} {_COMPARISONS[op]} {value(args[1], wanted)}"
    if op in _LOGIC:
        return f"{value(args[0], 'int')} {_LOGIC[op]} {value(args[1], 'int')}"
    if op == "where":
        return f"{value(args[0], 'int')} ? {value(args[1])} : {value(args[2])}"
    if op in ("clamp", "clamp_min", "clamp_max"):
        low = args[1] if op != "clamp_max" and len(args) > 1 else node.options.get("min")
        high = args[1] if op == "clamp_max" else args[2] if len(args) > 2 else node.options.get("max")
        text = value(args[0])
        if low is not None:
            text = f"({text} < {value(low)} ? {value(low)} : {text})"
        if high is not None:
            text = f"({text} > {value(high)} ? {value(high)} : {text})"
        return text
    if op in ("maximum", "minimum"):
        a, b, sign = value(args[0]), value(args[1]), ">" if op == "maximum" else "<"
        return f"({a} {sign} {b} || {a} != {a}) ? {a} : {b}"  # a NaN on either side stays, as in torch
    if op == "pow":
        return _power(node, value)
    if op in _CONSTANTS:
        return f"({kind}){literal(_CONSTANTS[op])}"
    if op in ("full_like", "full", "scalar_tensor"):
        return value(args[0] if op == "scalar_tensor" else args[1])
    if op == "sqrt":
        return f"{root}({value(args[0])})"
    if op == "rsqrt":
        return f"({kind})1 / {root}({value(args[0])})"
    simple = {
        "neg": "-{0}",
        "reciprocal": "(" + kind + ")1 / {0}",
        "abs": ("__builtin_fabsf" if kind == "float" else "__builtin_fabs") + "({0})",
        "sign": "(" + kind + ")(({0} > 0) - ({0} < 0))",
        "floor": ("__builtin_floorf" if kind == "float" else "__builtin_floor") + "({0})",
        "_to_copy": "{0}",
        "logical_not": "!{0}",
        "square": "{0} * {0}",
    }
    if op in simple:
        return simple[op].format(value(args[0]))
    if node.kind == "tensor" and op in _SCALAR_ONLY:
        return f"({kind}){_SCALAR_ONLY[op]}({value(args[0], 'double')})"
    if node.kind == "tensor" and op == "remainder":
        return f"({kind})modulo({value(args[0], 'double')}, {value(args[1], 'double')})"
    raise Untraceable(f"the operation {op} on {node.kind}s")


def _power(node: Node, value: Any) -> str:
    base, exponent = node.args
    if not isinstance(exponent, Node) and exponent == 2:
        return f"{value(base)} * {value(base)}"
    if node.kind != "tensor":
        raise Untraceable(f"the power {exponent!r} of {node.kind}s")
    return f"({c_type(node.dtype)})pow({value(base, 'double')}, {value(exponent, 'double')})"

"""The per-tensor values of a traced update, computed on the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from thalweg.engine.trace import Node, Untraceable, walk

__all__ = ["scalar_values"]


def _power(base: float, exponent: float) -> float:
    return math.pow(base, exponent)


def _clamp(value: float, low: float | None = None, high: float | None = None) -> float:
    value = value if low is None or value >= low else low
    return value if high is None or value <= high else high


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b if b else math.copysign(math.inf, a) if a else math.nan,
    "neg": lambda a: -a,
    "sqrt": lambda a: math.sqrt(a) if a >= 0 else math.nan,
    "rsqrt": lambda a: 1 / math.sqrt(a),
    "reciprocal": lambda a: 1 / a if a else math.inf,
    "log": lambda a: math.log(a) if a > 0 else -math.inf,
    "exp": math.exp,
    "expm1": math.expm1,
    "pow": _power,
    "floor": math.floor,
    "abs": abs,
    "remainder": lambda a, b: a % b,
    "maximum": max,
    "minimum": min,
    "where": lambda test, a, b: a if test else b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "bitwise_and": lambda a, b: bool(a) and bool(b),
    "logical_and": lambda a, b: bool(a) and bool(b),
    "logical_not": lambda a: not a,
    "_to_copy": lambda a: a,
    "ones_like": lambda a: 1.0,
    "zeros_like": lambda a: 0.0,
    "scalar_tensor": lambda a: a,
    "full_like": lambda a, value: value,
    "clamp": _clamp,
}


def scalar_values(wanted: Sequence[Node], inputs: Mapping[int, float]) -> list[float]:
    """Return the values of *wanted*, given those of the inputs that they depend on (by identity).

    Each is rounded to the precision in which the equation states it.

    Raises:
        Untraceable: an operation that is not known here, or a statistic over a tensor.
    """
    known: dict[int, Any] = dict(inputs)

    def compute(node: Node) -> None:
        if id(node) in known:
            return
        if node.kind != "tensor":
            raise Untraceable(f"a statistic over {node.kind}s")
        args = [known[id(a)] if isinstance(a, Node) else a for a in node.args]
        options = {name: value for name, value in node.options.items() if name in ("min", "max", "alpha")}
        if node.op in ("add", "sub", "rsub"):
            alpha = options.get("alpha", args[2] if len(args) > 2 else 1)
            first, second = (args[1], args[0]) if node.op == "rsub" else (args[0], args[1])
            value = first + alpha * second if node.op == "add" else first - alpha * second
        elif node.op == "clamp":
            low = args[1] if len(args) > 1 else options.get("min")
            value = _clamp(args[0], low, args[2] if len(args) > 2 else options.get("max"))
        elif node.op in _OPERATIONS:
            value = _OPERATIONS[node.op](*args)
        else:
            raise Untraceable(f"the operation {node.op} on the host")
        known[id(node)] = float(np.float32(value)) if node.dtype is torch.float32 else value

    walk(list(wanted), compute)
    return [float(known[id(node)]) for node in wanted]

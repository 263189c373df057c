"""From a rule and a parameter to the kernel that updates it, or to the reason why there is none."""

from __future__ import annotations

import ctypes
import math
import warnings
from typing import Any

import torch
from torch import Tensor

from thalweg.engine.bucket import Plan
from thalweg.engine.c_compiler import NoCompiler, load_kernel
from thalweg.engine.c_elements import columns, element_source, moving_inputs
from thalweg.engine.c_tensors import tensor_source
from thalweg.engine.cuda_bucket import CudaPlan, load_cuda_kernel
from thalweg.engine.cuda_elements import cuda_source
from thalweg.engine.memory_layout import is_dense
from thalweg.engine.sharded import is_sharded
from thalweg.engine.trace import Untraceable, is_moving, trace
from thalweg.optim import Hyper, Rule, State

__all__ = ["constants_of", "fits", "is_matrix", "make_plan", "real_dtype", "say_once", "shape_of", "signature"]

_REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_COUNTERS = (torch.float32, torch.float64)
_POINTER, _INTEGER = ctypes.c_void_p, ctypes.c_int64
_ARGUMENTS: list[Any] = [
    *(_POINTER, _INTEGER, _POINTER, _POINTER, _INTEGER, _POINTER, _POINTER, _POINTER, _POINTER),
    *(ctypes.c_uint32, _INTEGER, _INTEGER),
]

_said: set[str] = set()


def real_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype of the numbers in memory: that of the parts for complex tensors."""
    return _REAL.get(tensor.dtype, tensor.dtype)


def constants_of(hyper: Hyper) -> list[Any]:
    """Return what of the hyperparameters is part of a kernel: flags, whole numbers, and which are zero."""
    return [
        None if name == "params" or is_moving(name, value) else len(value) if name.endswith("betas") else value
        for name, value in hyper.items()
    ]


def signature(rule: Rule, param: Tensor, state: State, hyper: Hyper) -> tuple[str, int]:
    """Return what decides which kernel a parameter needs (empty: there is none), and the dimensions it sees."""
    if param.device.type not in ("cpu", "cuda") or real_dtype(param) not in _DTYPES:
        return "", 1
    if param.layout is not torch.strided or (param.device.type == "cuda" and rule.scope == "tensor"):
        return "", 1
    if is_sharded(param):
        return "", 1
    if any(isinstance(value, Tensor) and value.device.type != "cpu" for value in hyper.values()):
        return "", 1
    if rule.scope != "element" and param.numel() == 0:
        return "", 1  # nothing to take a mean or a product of
    dims = 1
    if param.ndim > 1 and rule.scope == "tensor":
        dims = min(param.ndim, 3)
    return f"{param.device} {param.dtype} {dims}: " + ", ".join(
        f"{name} {value.dtype}" for name, value in state.items()
    ), dims


def is_matrix(rule: Rule, param: Tensor, hyper: Hyper) -> bool:
    """Whether the rule updates this parameter by products of matrices, which are no kernel of ours."""
    return rule.scope == "matrix" and param.ndim > 1 and param.numel() > 0 and bool(hyper.get("use_muon", True))


def shape_of(param: Tensor, dims: int) -> tuple[int, int, int]:
    """Return (matrices, rows, columns) of the parameter as its kernel sees it; the parts of complex numbers count."""
    if dims == 1:
        return 1, 1, param.numel() * (2 if param.is_complex() else 1)
    *batch, rows, cols = param.shape
    return math.prod(batch), rows, cols


def make_plan(rule: Rule, param: Tensor, state: State, hyper: Hyper, dims: int, *, at_random: bool) -> Plan | CudaPlan:
    """Return the kernel for parameters like *param*.

    Raises:
        NoCompiler: it cannot be compiled here.
        Untraceable: the rule does something that no kernel is made for.
    """
    exact = torch.float64 if real_dtype(param) is torch.float64 else torch.float32
    found = trace(rule, state, hyper, exact, dims)
    kept = {"param": real_dtype(param), "grad": real_dtype(param)}
    kept |= {name: real_dtype(value) for name, value in state.items()}
    kinds = {name: found.inputs[name].kind for name in state}
    moving = tuple(name.removeprefix("hyper/") for name in moving_inputs(found))
    if param.device.type == "cuda":
        text = cuda_source(found, kept, at_random=at_random)
        kernel = load_cuda_kernel(text.text)
        return CudaPlan(kernel, found, tuple(text.scalars), tuple(columns(found)), kinds, moving)
    if rule.scope == "tensor":
        source = tensor_source(found, kept, at_random=at_random)
    else:
        source = element_source(found, kept, at_random=at_random)
    function = load_kernel(source.text).update
    function.argtypes, function.restype = _ARGUMENTS, None
    return Plan(
        function,
        tuple(columns(found)),
        kinds,
        moving,
        source.scalars,
        whole=rule.scope == "tensor",
        row_scratch=source.per_row,
        column_scratch=source.per_column,
    )


def fits(plan: Plan | CudaPlan, param: Tensor, state: State) -> bool:
    """Whether the tensors lie in memory as the kernel walks it: without gaps, all in the same order."""
    if not (param.is_contiguous() if plan.whole else is_dense(param)):
        return False
    for name, value in state.items():
        kind = plan.kinds[name]
        wanted = torch.device("cpu") if kind == "tensor" else param.device
        if value.device != wanted or value.layout is not torch.strided:
            return False
        if kind == "tensor":
            if value.numel() != 1 or value.dtype not in _COUNTERS:
                return False
        elif kind == "element":
            if value.shape != param.shape or value.stride() != param.stride():
                return False
            if value.is_complex() != param.is_complex() or real_dtype(value) not in _DTYPES:
                return False
        elif not value.is_contiguous() or value.dtype not in _COUNTERS:
            return False
    return True


def say_once(text: str, about: str = "") -> None:
    """Warn, and never again *about* the same thing, or else in the same words."""
    if (about or text) not in _said:
        _said.add(about or text)
        warnings.warn(text, stacklevel=2)


def why_not(rule: Rule, error: NoCompiler | Untraceable) -> str:
    """Return the notice that a rule is executed another way."""
    what = "no kernel can be compiled" if isinstance(error, NoCompiler) else f"{type(rule).__name__} has no kernel"
    return f"engine='compiled': {what}: {error}. Going on with torch's kernels where it has them, else the reference."

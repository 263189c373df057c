"""torch's own kernels, called directly, where they compute what the rule says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.engine.base import Engine
from thalweg.engine.kernels import Kernel, kernel_of
from thalweg.engine.memory_layout import is_dense
from thalweg.engine.reference import ReferenceEngine
from thalweg.engine.rounding import Rounder
from thalweg.engine.sharded import is_sharded
from thalweg.optim import Hyper, Rule, State, Wrapper

__all__ = ["NativeEngine"]

_DEVICES = ("cpu", "cuda", "mps")
_FUSED_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_STRIDED = {torch.strided}
_SHARDED = ("Adam", "AdamW")  # whose fused kernels take sharded parameters (torch 2.13)
_PLAIN = {float, int, bool, str, type(None)}  # asked first: isinstance with Tensor is slow
_PLAIN_WITH_LISTS = {*_PLAIN, list, tuple}  # the parameters, and betas
_FOR_EACH_DTYPES = (torch.float32, torch.float64)


@dataclass
class _Layout:
    """The tensors of one call as a kernel takes them, kept while they stay the same objects of the same layout."""

    kernel: Kernel
    dtypes: set[torch.dtype]
    strides: list[tuple[int, ...]]
    lists: dict[str, list[Tensor]]
    names: list[str]
    tensors: list[Tensor]


class NativeEngine(Engine):
    """Runs a rule through torch's fused or for-each kernel, and what that cannot take through the reference.

    The fused CPU kernels walk raw memory and are silently wrong when the strides of a gradient or a state differ from
    the parameter's (torch 2.13); such gradients are laid out anew for the call, and such parameters go to the
    reference. A group that mixes dtypes or devices is split. For wrappers, the inner rule runs natively.
    """

    name: ClassVar[str] = "torch"

    def __init__(self) -> None:
        self._reference = ReferenceEngine()

    @staticmethod
    def knows(rule: Rule) -> bool:
        """Whether torch has a kernel for this rule's equation, or for that of the rule it wraps."""
        while isinstance(rule, Wrapper):
            rule = rule.rule
        hyper = rule.hyper()
        return kernel_of(rule, {}, hyper) is not None

    def step(
        self,
        rule: Rule,
        params: list[Tensor],
        grads: list[Tensor],
        states: list[State],
        hyper: Hyper,
        scale: Tensor | None = None,
        *,
        skip: Tensor | None = None,
        rounder: Rounder | None = None,
        overwrite: bool = False,
        memo: dict[str, Any] | None = None,
    ) -> None:
        layout: _Layout | None = memo.get("layout") if memo is not None else None
        if layout is None or not _still_fits(layout, params, states):
            layout = self._lay_out(rule, params, states, hyper)
            if memo is not None:
                memo["layout"] = layout
        if layout is None or rounder is not None or not _takes(layout, grads, hyper, skip):
            self._split(rule, params, grads, states, hyper, scale, skip=skip, rounder=rounder, overwrite=overwrite)
            return
        wrappers = _unwrapped(rule)[1] if isinstance(rule, Wrapper) else []
        _run(layout, params, grads, hyper, scale, skip, overwrite, wrappers, states)

    def bind(
        self, rule: Rule, params: list[Tensor], states: list[State], hyper: Hyper, memo: dict[str, Any]
    ) -> Callable[[list[Tensor]], None] | None:
        layout: _Layout | None = memo.get("layout")
        if layout is None or not _still_fits(layout, params, states) or _has_tensors(hyper):
            return None
        wrappers = _unwrapped(rule)[1] if isinstance(rule, Wrapper) else []
        needs_momentum = "momentum_buffer" in layout.lists

        def run(grads: list[Tensor]) -> None:
            if {grad.layout for grad in grads} != _STRIDED or (needs_momentum and hyper["momentum"] == 0):
                self.step(rule, params, grads, states, hyper, overwrite=True, memo=memo)
            else:
                _run(layout, params, grads, hyper, None, None, True, wrappers, states)

        return run

    def _lay_out(self, rule: Rule, params: list[Tensor], states: list[State], hyper: Hyper) -> _Layout | None:
        """Return the layout where one kernel call can take all parameters, else None."""
        inner, _ = _unwrapped(rule)
        if not params:
            return None
        first = params[0]
        kernel = kernel_of(inner, states[0], hyper)
        if kernel is None or _has_tensors(hyper) or first.device.type not in _DEVICES:
            return None
        if first.dtype not in (_FUSED_DTYPES if kernel.fused else _FOR_EACH_DTYPES):
            return None
        wrapped = _wrapper_names(rule)
        for param, state in zip(params, states, strict=True):
            if param.dtype is not first.dtype or param.device != first.device:
                return None
            if kernel.fused and not (is_dense(param) and _matches(param, state, wrapped)):
                return None
            if is_sharded(param) and inner.torch_class not in _SHARDED:
                return None
        names = [name for name in states[0] if name not in wrapped]
        if any(name not in state for state in states for name in names):
            return None
        lists: dict[str, list[Tensor]] = {}
        if "step" in names:
            lists["flat_step"] = [_side_by_side(states, first.device if kernel.fused else torch.device("cpu"))]
        for name in names:
            lists[name] = [state[name] for state in states]
        return _Layout(
            kernel,
            {first.dtype},
            [param.stride() for param in params],
            lists,
            names,
            [tensor for name in names for tensor in lists[name]],
        )

    def _split(
        self,
        rule: Rule,
        params: list[Tensor],
        grads: list[Tensor],
        states: list[State],
        hyper: Hyper,
        scale: Tensor | None,
        *,
        skip: Tensor | None,
        rounder: Rounder | None,
        overwrite: bool,
    ) -> None:
        """Run each dtype and device together as far as a kernel takes them, and the rest through the reference."""
        wrappers = _unwrapped(rule)[1]
        buckets: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        rest: list[int] = []
        for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
            alone = None
            if rounder is None or param.dtype is not torch.bfloat16:
                alone = self._lay_out(rule, [param], [states[index]], hyper)
            if alone is not None and _takes(alone, [grad], hyper, skip):
                buckets.setdefault((param.device, param.dtype), []).append(index)
            else:
                rest.append(index)
        for index in rest:
            self._reference.step(
                rule, [params[index]], [grads[index]], [states[index]], hyper, scale, skip=skip, rounder=rounder
            )
        for rows in buckets.values():
            some = [params[i] for i in rows], [grads[i] for i in rows], [states[i] for i in rows]
            layout = self._lay_out(rule, some[0], some[2], hyper)
            assert layout is not None, "each of them had a layout alone"
            _run(layout, some[0], some[1], hyper, scale, skip, overwrite, wrappers, some[2])


def _unwrapped(rule: Rule) -> tuple[Rule, list[Wrapper]]:
    """Return the innermost rule and its wrappers from the inside out."""
    wrappers: list[Wrapper] = []
    while isinstance(rule, Wrapper):
        wrappers.insert(0, rule)
        rule = rule.rule
    return rule, wrappers


def _wrapper_names(rule: Rule) -> tuple[str, ...]:
    return tuple(name for wrapper in _unwrapped(rule)[1] for name in wrapper.state_names)


def _still_fits(layout: _Layout, params: list[Tensor], states: list[State]) -> bool:
    """Whether the parameters have kept their layout and the states their tensors (``.data`` and dicts can be set)."""
    if [param.stride() for param in params] != layout.strides or {param.dtype for param in params} != layout.dtypes:
        return False
    return all(map(is_, [state.get(name) for name in layout.names for state in states], layout.tensors))


def _takes(layout: _Layout, grads: list[Tensor], hyper: Hyper, skip: Tensor | None) -> bool:
    """Whether the kernel can take these gradients and this skipping."""
    if skip is not None and not layout.kernel.fused:
        return False
    if _has_tensors(hyper) or ("momentum_buffer" in layout.lists and hyper["momentum"] == 0):
        return False
    return {grad.dtype for grad in grads} == layout.dtypes and {grad.layout for grad in grads} == _STRIDED


def _run(
    layout: _Layout,
    params: list[Tensor],
    grads: list[Tensor],
    hyper: Hyper,
    scale: Tensor | None,
    skip: Tensor | None,
    overwrite: bool,
    wrappers: list[Wrapper],
    states: list[State],
) -> None:
    grad_scale = None
    fused = layout.kernel.fused
    if fused and [grad.stride() for grad in grads] != layout.strides:
        grads = [
            grad if grad.stride() == stride else torch.empty_like(param).copy_(grad)
            for param, grad, stride in zip(params, grads, layout.strides, strict=True)
        ]
    if scale is not None:
        # The kernel reads its scale in float32, which would cost float64 parameters half of their digits.
        if not overwrite or params[0].dtype is torch.float64:
            grads = list(torch._foreach_mul(grads, scale.to(grads[0].dtype)))
        elif fused:
            grad_scale = scale.reciprocal().to(device=params[0].device, dtype=torch.float32)  # the kernel divides
        else:
            torch._foreach_mul_(grads, scale.to(grads[0].dtype))
    if skip is not None:
        skip = skip.to(device=params[0].device, dtype=torch.float32)
    layout.kernel.run(params, grads, layout.lists, hyper, grad_scale, skip)
    for wrapper in wrappers:
        for param, state in zip(params, states, strict=True):
            _wrap(wrapper, param, state, hyper, skip)


def _wrap(wrapper: Wrapper, param: Tensor, state: State, hyper: Hyper, skip: Tensor | None) -> None:
    """Let *wrapper* follow an update in place."""
    new, own = wrapper.wrap(param, state, hyper)
    keep = None if skip is None else skip != 0
    for target, value in [(param, new), *((state[name], value) for name, value in own.items())]:
        if value is not target:
            target.copy_(value if keep is None else torch.where(keep.to(value.device), target, value))


def _side_by_side(states: list[State], device: torch.device) -> Tensor:
    """Move the 0-dim step counters into one tensor, of which each state keeps its element; return that tensor."""
    flat = torch.stack([state["step"].to(device=device, dtype=torch.float32) for state in states])
    for index, state in enumerate(states):
        state["step"] = flat[index]
    return flat


def _has_tensors(hyper: Hyper) -> bool:
    """Whether a hyperparameter is a tensor, which the kernels take in part or not at all."""
    if set(map(type, hyper.values())) <= _PLAIN_WITH_LISTS and set(map(type, hyper.get("betas", ()))) <= _PLAIN:
        return False  # the usual case, without a loop in Python
    for name, value in hyper.items():
        kind = type(value)
        if kind in _PLAIN or name == "params":
            continue
        if isinstance(value, Tensor) or (kind is tuple and any(isinstance(item, Tensor) for item in value)):
            return True
    return False


def _matches(param: Tensor, state: State, besides: Sequence[str]) -> bool:
    """Whether every state tensor of the kernel has the parameter's dtype and strides (0-dim counters aside)."""
    stride, dtype = param.stride(), param.dtype
    for name, value in state.items():
        if name == "step" or name in besides:
            continue
        if value.stride() != stride or value.dtype is not dtype or value.shape != param.shape:
            return False
    return True

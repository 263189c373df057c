"""Rules as C kernels: one pass over parameters, gradients and states, made from the rule's own definition."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, methodcaller
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from thalweg.engine.base import Engine
from thalweg.engine.bucket import Bucket, Plan, pointers
from thalweg.engine.c_compiler import NoCompiler
from thalweg.engine.cuda_bucket import CudaBucket, CudaPlan
from thalweg.engine.forms import Forms, forms_of
from thalweg.engine.gradient_norm import GradientNorm
from thalweg.engine.matrix_batches import step_matrices
from thalweg.engine.native import NativeEngine
from thalweg.engine.plans import constants_of, fits, is_matrix, make_plan, say_once, shape_of, signature, why_not
from thalweg.engine.rounding import Rounder
from thalweg.engine.trace import Untraceable
from thalweg.optim import Hyper, Rule, State

__all__ = ["CompiledEngine"]

_VALUES = methodcaller("values")
_LAYOUT = attrgetter("layout")
_Where = tuple[list[int], list[tuple[int, int, int]], list[Tensor]]


@dataclass
class _Layout:
    """The buckets of a group, kept while its tensors and constants stay the same."""

    constants: list[Any]
    dtypes: list[torch.dtype]
    strides: list[tuple[int, ...]]
    places: Any
    forms: Forms | None
    grad_forms: Forms | None
    buckets: list[Bucket]
    on_gpu: list[CudaBucket]
    matrices: list[int]
    rest: list[int]
    at_random: bool
    has_complex: bool

    def read(self, grads: list[Tensor]) -> Any:
        """Return the addresses of gradients that lie as their parameters do, or None where they must be looked at."""
        if self.grad_forms is None or any(map(Tensor.is_neg, grads)):
            return None
        return self.grad_forms.places(grads)


class CompiledEngine(Engine):
    """Runs a rule as a C kernel on the processor: clip factor, decay, update, averages and guard in one pass.

    The rule's ``update`` is traced once and the kernel is written from the trace: there is one definition. Rates and
    betas are arguments of the kernel, which therefore serves every value of them. Parameters of one dtype and state are
    a bucket: one call for all of them, whose work is cut into equal pieces, so that a thousand small tensors cost no
    more than a large one. Kernels are kept on disk under the hash of their source.

    What it does not take (sparse gradients, other devices, memory with gaps, a rule that cannot be traced, no compiler)
    goes to torch's kernels or to the reference.
    """

    name: ClassVar[str] = "compiled"

    def __init__(self) -> None:
        self._fallback = NativeEngine()
        self._plans: dict[str, Plan | CudaPlan | None] = {}
        self._norm = GradientNorm()
        self._rule: Rule | None = None

    def total_norm(self, grads: list[Tensor]) -> Tensor:
        return self._norm(grads)

    def norms(self, grads: list[Tensor]) -> Tensor | None:
        return self._norm.each(grads)

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
        layout: _Layout | None = memo.get("buckets") if memo is not None else None
        constants = constants_of(hyper)
        if layout is None or not _still_fits(layout, params, states, constants):
            layout = self._lay_out(rule, params, states, hyper, constants, rounder is not None)
            if memo is not None:
                memo["buckets"] = layout
        given = layout.read(grads)
        odd = _odd(layout, grads) if given is None else None
        if odd:
            some = [i for i in range(len(params)) if i not in odd]
            for engine, rows in ((self._fallback, sorted(odd)), (self, some)):
                if rows:
                    parts = [params[i] for i in rows], [grads[i] for i in rows], [states[i] for i in rows]
                    engine.step(rule, *parts, hyper, scale, skip=skip, rounder=rounder)
            return
        if layout.on_gpu and skip is not None:
            # Whether this is a step is known on the device alone, and the counters are on the host.
            self._fallback.step(rule, params, grads, states, hyper, scale, skip=skip, rounder=rounder)
            return
        if layout.buckets or layout.on_gpu:
            self._run(layout, params, grads, given, hyper, scale, skip, rounder)
        if layout.matrices:
            rows = layout.matrices
            parts = [params[i] for i in rows], [grads[i] for i in rows], [states[i] for i in rows]
            step_matrices(rule, *parts, hyper, scale, skip, rounder)
        if layout.rest:
            rest = layout.rest
            parts = [params[i] for i in rest], [grads[i] for i in rest], [states[i] for i in rest]
            own = None if memo is None else memo.setdefault("rest", {})
            self._fallback.step(rule, *parts, hyper, scale, skip=skip, rounder=rounder, memo=own)

    def _run(
        self,
        layout: _Layout,
        params: list[Tensor],
        grads: list[Tensor],
        given: Any,
        hyper: Hyper,
        scale: Tensor | None,
        skip: Tensor | None,
        rounder: Rounder | None,
    ) -> None:
        # A factor on a GPU stays there: to ask for its value would wait for it.
        factor = None if scale is None or not layout.buckets else scale.to(device="cpu", dtype=torch.float64)
        flag = None if skip is None else skip.to(device="cpu", dtype=torch.float32)
        seed = rounder.seed_of_step() if rounder is not None and layout.at_random else 0
        if given is None:
            grads = _laid_out(layout, params, grads)
            given = np.asarray(pointers(grads), dtype=np.int64)
        for bucket in layout.buckets:
            bucket.run(given if len(bucket.rows) == len(grads) else given[bucket.rows], hyper, factor, flag, seed)
        for other in layout.on_gpu:
            device = params[other.rows[0]].device
            factor = None if scale is None else scale.to(device=device, dtype=torch.float64)
            other.run([grads[i] for i in other.rows], hyper, factor, seed)
        # The kernels write past autograd, which must still notice that a saved parameter has changed.
        torch.autograd.graph.increment_version(params)

    def _lay_out(
        self,
        rule: Rule,
        params: list[Tensor],
        states: list[State],
        hyper: Hyper,
        constants: list[Any],
        at_random: bool,
    ) -> _Layout:
        """Sort the parameters into buckets."""
        if self._rule is not rule:
            self._rule, self._plans = rule, {}
        found: dict[str, tuple[Plan | CudaPlan, _Where]] = {}
        matrices: list[int] = []
        rest: list[int] = []
        for index, (param, state) in enumerate(zip(params, states, strict=True)):
            if is_matrix(rule, param, hyper):
                matrices.append(index)
                continue
            kind, dims = signature(rule, param, state, hyper)
            key = f"{kind} {at_random} {constants}" if kind else ""
            if key and key not in self._plans:
                try:
                    self._plans[key] = make_plan(rule, param, state, hyper, dims, at_random=at_random)
                except (NoCompiler, Untraceable) as error:
                    self._plans[key] = None
                    say_once(why_not(rule, error))
            plan = self._plans[key] if key else None
            if plan is None or not fits(plan, param, state):
                rest.append(index)
                continue
            _, (rows, shapes, held) = found.setdefault(key, (plan, ([], [], [])))
            rows.append(index)
            shapes.append(shape_of(param, dims))
            held += [param if name == "param" else state[name] for name in plan.names if name != "grad"]
        return _Layout(
            constants,
            [param.dtype for param in params],
            [param.stride() for param in params],
            *_places(params, states),
            None if any(param.is_complex() for param in params) else forms_of(params),
            [Bucket(plan, *where) for plan, where in found.values() if isinstance(plan, Plan)],
            [CudaBucket(plan, *where) for plan, where in found.values() if isinstance(plan, CudaPlan)],
            matrices,
            rest,
            at_random,
            any(param.is_complex() for param in params),
        )


def _still_fits(layout: _Layout, params: list[Tensor], states: list[State], constants: list[Any]) -> bool:
    """Whether tensors, layouts and constants are those of the buckets (``.data`` and state entries can be set)."""
    if layout.constants != constants:
        return False
    # What the buckets hold stays allocated, so that another tensor cannot lie at the same place.
    if layout.forms is not None:
        places = layout.forms.places(params, states)
        return places is not None and np.array_equal(places, layout.places)
    return [param.stride() for param in params] == layout.strides and _each(params, states) == layout.places


def _each(params: list[Tensor], states: list[State]) -> list[int]:
    return pointers([*params, *chain.from_iterable(map(_VALUES, states))])


def _places(params: list[Tensor], states: list[State]) -> tuple[Any, Forms | None]:
    """Return where everything lies, and its forms where these are read in one call."""
    forms = forms_of(params, states)
    places = None if forms is None else forms.places(params, states)
    return (_each(params, states), None) if places is None else (places.copy(), forms)


def _odd(layout: _Layout, grads: list[Tensor]) -> set[int]:
    """Return the gradients that no kernel reads: sparse ones, and those of another dtype than the parameter."""
    if [grad.dtype for grad in grads] == layout.dtypes and set(map(_LAYOUT, grads)) == {torch.strided}:
        return set()
    return {
        index
        for index, (grad, dtype) in enumerate(zip(grads, layout.dtypes, strict=True))
        if grad.layout is not torch.strided or grad.dtype is not dtype
    }


def _laid_out(layout: _Layout, params: list[Tensor], grads: list[Tensor]) -> list[Tensor]:
    """Return the gradients laid out in memory as their parameters are; most are already."""
    lazy = any(map(Tensor.is_neg, grads)) or (layout.has_complex and any(map(Tensor.is_conj, grads)))
    if not lazy and [grad.stride() for grad in grads] == layout.strides:
        return grads
    return [
        grad
        if grad.stride() == stride and not grad.is_neg() and not grad.is_conj()
        else torch.empty_like(param).copy_(grad)
        for param, grad, stride in zip(params, grads, layout.strides, strict=True)
    ]

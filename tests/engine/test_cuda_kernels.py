"""The GPU's kernels without a GPU: their text is run block by block on the processor, through the same host code."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.optim.cases import BY_ID, CASES
from thalweg.engine import RuleOptimizer, c_compiler, cuda_elements, plans
from thalweg.engine.c_source import PREAMBLE
from thalweg.engine.cuda_bucket import CudaBucket, CudaPlan
from thalweg.engine.cuda_elements import cuda_source
from thalweg.engine.trace import Untraceable, trace

pytestmark = pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")

ELEMENT = [case.id for case in CASES if case.rule.scope == "element"]
SOME = ["sgd-dampening", "adamw", "nadam", "radam", "adagrad", "lion", "schedule-free-adamw", "averaged-lookahead"]

# One block after the other, one thread each: what CUDA's words mean on a processor.
_SHIM = (
    PREAMBLE
    + """
#define __global__
typedef struct { i64 x; } place;
static place blockIdx, threadIdx = { 0 }, blockDim = { 1 };
"""
)


def emulated(source: str) -> Any:
    text = source[len(cuda_elements.PREAMBLE) :].replace('extern "C"', "static")
    runner = """
void run(i64 blocks, const i64 *table, const i64 *chunks, const double *scratch, const double *scale, int has,
         int seed) {
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) update(table, chunks, scratch, scale, has, seed);
}
"""
    function = c_compiler.load_kernel(_SHIM + text + runner).run
    function.argtypes = [ctypes.c_int64, *[ctypes.c_void_p] * 4, ctypes.c_int, ctypes.c_int]

    def kernel(grid: Any, block: Any, args: list[Any]) -> None:
        table, chunks, scalars, factor, has, seed = args
        function(grid[0], *(t.data_ptr() for t in (table, chunks, scalars, factor)), has, seed)

    return kernel


@pytest.mark.parametrize("id", SOME)
def test_equals_the_reference(id: str) -> None:
    rule = BY_ID[id].rule
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(shape, generator=generator) for shape in ((40, 30), (20_000,), (0,))]
    theirs = [w.clone() for w in ours]
    other = rule.optimizer(theirs, engine="reference")
    assert isinstance(other, RuleOptimizer)
    hyper = rule.hyper()
    states = [rule.init(w) for w in ours]
    found = trace(rule, states[0], hyper, torch.float32, 1)
    kept = dict.fromkeys(["param", "grad", *states[0]], torch.float32)
    source = cuda_source(found, kept)
    names = tuple(plans.columns(found))
    kinds = {name: found.inputs[name].kind for name in states[0]}
    moving = tuple(name.removeprefix("hyper/") for name in plans.moving_inputs(found))
    plan = CudaPlan(emulated(source.text), found, tuple(source.scalars), names, kinds, moving)
    held: list[Tensor] = []
    for w, state in zip(ours, states, strict=True):
        held += [w if name == "param" else state[name] for name in names if name != "grad"]
    bucket = CudaBucket(plan, [0, 1, 2], [(1, 1, w.numel()) for w in ours], held)
    factor = torch.tensor(0.5, dtype=torch.float64)
    for _ in range(6):
        grads = [torch.randn(w.shape, generator=generator) for w in ours]
        for w, grad in zip(theirs, grads, strict=True):
            w.grad = grad
        bucket.run(grads, hyper, factor, 0)
        other.apply(scale=factor.float())
    for w, state, twin in zip(ours, states, theirs, strict=True):
        torch.testing.assert_close(w, twin, rtol=1e-5, atol=1e-5)
        for name, value in state.items():
            torch.testing.assert_close(value, other.state[twin][name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("id", ELEMENT)
def test_every_element_rule_has_a_kernel(id: str) -> None:
    rule = BY_ID[id].rule
    state = rule.init(torch.ones(3))
    found = trace(rule, state, rule.hyper(), torch.float32, 1)
    kept = dict.fromkeys(["param", "grad", *state], torch.float32)
    text = cuda_source(found, kept).text
    assert text.count("blockDim.x") == text.count("#pragma unroll 4") > 0
    with pytest.raises(Untraceable, match="float16 on a GPU"):
        cuda_source(found, dict.fromkeys(kept, torch.float16))

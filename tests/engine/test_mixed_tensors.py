"""A thousand tensors of mixed shapes, dtypes and memory layouts, and what half precision does to a second moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

import thalweg as tw
from tests.optim.cases import BY_ID, IDS
from thalweg.engine import RuleOptimizer, c_compiler
from thalweg.engine.matrix_batches import product_dtype
from thalweg.optim.muon import products_in

pytestmark = pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")

O = tw.optim  # noqa: E741 - as in the table of cases

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LAYOUTS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda t: t,
    lambda t: t.mT.contiguous().mT if t.ndim > 1 else t,
    lambda t: torch.stack([t, t], dim=-1)[..., 0],  # with gaps
)


#: Steps where a second one does not show everything: Lookahead's turn is the fourth or fifth.
STEPS = {"lookahead-rmsprop": 5, "averaged-lookahead": 5, "adamw": 5}


def shape(index: int) -> tuple[int, ...]:
    """Vectors, matrices and stacks of matrices of a few elements, and some scalars."""
    kinds = ((), (1 + index % 11,), (1 + index % 7, 1 + index % 5), (1 + index % 3, 2, 1 + index % 4))
    return kinds[0] if index % 50 == 0 else kinds[1 + index // 4 % 3]


def thousand() -> list[Tensor]:
    """Every dtype in every layout and shape."""
    generator = torch.Generator().manual_seed(0)
    plain = [torch.randn(shape(i), generator=generator) for i in range(1000)]
    return [LAYOUTS[i // 12 % 3](w.to(DTYPES[i % 4])) for i, w in enumerate(plain)]


def gradients(params: list[Tensor], seed: int) -> list[Tensor]:
    """Away from zero, where float16 has no squares; see the test of that below."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for param in params:
        noise = torch.randn(param.shape, generator=generator)
        found.append(torch.empty_like(param).copy_(noise + noise.sign()))
    return found


@pytest.mark.parametrize("id", IDS)
def test_a_thousand_tensors_of_all_kinds_at_every_step(id: str) -> None:
    rule = BY_ID[id].rule
    ours, theirs = thousand(), thousand()
    a = rule.optimizer(ours, engine="compiled", clip_norm=100.0)
    b = rule.optimizer(theirs, engine="reference", clip_norm=100.0)
    assert len({(tuple(p.shape), p.dtype, p.stride()) for p in ours}) > 100
    for t in range(STEPS.get(id, 2)):
        for mine, other, grad in zip(ours, theirs, gradients(ours, t), strict=True):
            mine.grad, other.grad = grad, grad.clone()
        a.step()
        # Muon's products, in bfloat16 by themselves, are formed in float32 where that is faster.
        with products_in(product_dtype(torch.device("cpu"))) if rule.scope == "matrix" else nullcontext():
            b.step()
        for mine, other in zip(ours, theirs, strict=True):
            # One rounding per step in half precision, in which an element may fall to the other neighbour.
            tolerance = {torch.float64: 1e-6, torch.float32: 1e-5}.get(mine.dtype, (t + 1) * 2**-8)
            torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)
            assert mine.stride() == other.stride()


def centred(params: list[Tensor], engine: str) -> RuleOptimizer:
    optimizer = O.RMSprop(centered=True).optimizer(params, engine=engine)
    assert isinstance(optimizer, RuleOptimizer)
    return optimizer


@pytest.mark.parametrize("engine", ["reference", "compiled", "torch"])
def test_where_float16_loses_the_second_moment_all_engines_answer_with_the_same_nan(engine: str) -> None:
    # A hundredth of g^2 is below 3e-8, the half of float16's smallest number, for |g| < 1.7e-3, and is kept as 0; the
    # mean of g is not. v - (mean g)^2 is then negative, and its root is no number: torch's own class does the same.
    first, then = torch.tensor([1e-3, 1e-3, 0.5], dtype=torch.float16), torch.tensor([0.0, 1e-2, 0.5]).half()
    w = torch.ones(3, dtype=torch.float16)
    optimizer = centred([w], engine)
    for grad in (first, then):
        w.grad = grad
        optimizer.step()
    state = optimizer.state[w]
    assert state["square_avg"][0] == 0
    assert state["grad_avg"][0] != 0
    assert w.isnan().tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_has_the_range_of_float32_keeps_a_centred_variance(dtype: torch.dtype) -> None:
    grads = [torch.randn(2000, generator=torch.Generator().manual_seed(t)).to(dtype) * 1e-3 for t in range(6)]
    found = []
    for engine in ("reference", "compiled"):
        w = torch.ones(2000, dtype=dtype)
        optimizer = centred([w], engine)
        for grad in grads:
            w.grad = grad
            optimizer.step()
        assert bool(w.isfinite().all())
        found.append(w)
    torch.testing.assert_close(*found)

"""Every engine computes what the reference does, for every dtype, layout and mixture."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import thalweg as tw
from tests.optim.cases import BY_ID, CASES, IDS
from thalweg.engine import NativeEngine, RuleOptimizer
from thalweg.engine.matrix_batches import product_dtype
from thalweg.optim.muon import products_in

NATIVE = [case.id for case in CASES if NativeEngine.knows(case.rule)]
STEPS = 6
# Both compute in float32 or wider and round once a step; an element may fall to the other neighbour, once a step.
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.bfloat16: STEPS * 2**-8,
    torch.float16: STEPS * 2**-10,
}


def run(id: str, params: list[Tensor], grads: Callable[[int, Tensor], Tensor], engine: str) -> RuleOptimizer:
    """Take a few steps with the same gradients for each engine."""
    optimizer = BY_ID[id].rule.optimizer(params, engine=engine)
    assert isinstance(optimizer, RuleOptimizer)
    for t in range(STEPS):
        for param in params:
            param.grad = grads(t, param)
        optimizer.step()
    return optimizer


def wave(t: int, param: Tensor) -> Tensor:
    """A gradient that changes sign and size, of the parameter's strides; not small, so that half precision sees it."""
    flat = torch.arange(param.numel(), dtype=torch.float64).reshape(param.shape)
    value = torch.sin(flat + t) + 0.3 * torch.cos(3 * flat)
    return torch.empty_like(param).copy_(value)


def compare(ours: list[Tensor], theirs: list[Tensor], a: RuleOptimizer, b: RuleOptimizer, tol: float) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=tol, atol=tol)
        assert mine.stride() == other.stride()
        assert a.state[mine].keys() == b.state[other].keys()
        for name, value in a.state[mine].items():
            torch.testing.assert_close(value, b.state[other][name], rtol=tol, atol=tol, msg=name, check_stride=True)


# Half precision is a matter of loads and stores, the same for every rule: a few rules will do.
EVERY_DTYPE = [(id, dtype, "torch") for id in NATIVE for dtype in TOLERANCE]
EVERY_DTYPE += [(id, dtype, "compiled") for id in IDS for dtype in (torch.float32, torch.float64)]
EVERY_DTYPE += [
    (id, dtype, "compiled")
    for id in ("adamw", "adam-l2-amsgrad", "adafactor", "lion", "averaged-lookahead")
    for dtype in (torch.bfloat16, torch.float16)
]


@pytest.mark.parametrize(("id", "dtype", "engine"), EVERY_DTYPE, ids=lambda value: str(value))
def test_every_dtype(id: str, dtype: torch.dtype, engine: str) -> None:
    def start() -> list[Tensor]:
        torch.manual_seed(0)
        return [torch.randn(shape).to(dtype) for shape in ((4, 3), (5,), (), (0,), (2, 0), (2, 3, 2))]

    ours, theirs = start(), start()
    a = run(id, ours, wave, engine)
    # Muon's products, in bfloat16 by themselves, are formed in float32 where that is faster.
    with products_in(product_dtype(torch.device("cpu")) if engine == "compiled" else torch.bfloat16):
        b = run(id, theirs, wave, "reference")
    compare(ours, theirs, a, b, TOLERANCE[dtype])


def channels_last(dtype: torch.dtype) -> Tensor:
    return torch.randn(2, 3, 4, 5, dtype=dtype).to(memory_format=torch.channels_last)


LAYOUTS: dict[str, Callable[[torch.dtype], Tensor]] = {
    "channels_last": channels_last,
    "transposed": lambda dtype: torch.randn(3, 4, dtype=dtype).t(),
    "every_other": lambda dtype: torch.randn(4, 6, dtype=dtype)[:, ::2],
    "expanded_row": lambda dtype: torch.randn(1, 6, dtype=dtype),
}


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gradient", ["same", "contiguous", "transposed"])
@pytest.mark.parametrize("engine", ["auto", "compiled"])
def test_any_layout_equals_contiguous(id: str, layout: str, gradient: str, engine: str) -> None:
    # torch's own fused CPU kernels walk raw memory here and are silently wrong.
    torch.manual_seed(0)
    odd = LAYOUTS[layout](torch.float64)
    plain = odd.clone(memory_format=torch.contiguous_format)

    def slope(t: int, param: Tensor) -> Tensor:
        value = wave(t, plain)
        if gradient == "same":
            return torch.empty_like(param).copy_(value)
        if gradient == "contiguous" or param.ndim < 2:
            return value.contiguous()
        return value.transpose(0, 1).contiguous().transpose(0, 1)

    strides = odd.stride()
    a = run(id, [odd], slope, engine)
    b = run(id, [plain], wave, "reference")
    torch.testing.assert_close(odd, plain, rtol=1e-11, atol=1e-11, check_stride=False)
    assert odd.stride() == strides
    for name, value in a.state[odd].items():
        torch.testing.assert_close(value, b.state[plain][name], rtol=1e-11, atol=1e-11, check_stride=False)


@pytest.mark.parametrize("engine", ["torch", "compiled"])
@pytest.mark.parametrize("id", NATIVE)
def test_states_of_other_strides(id: str, engine: str) -> None:
    torch.manual_seed(0)
    ours, theirs = [torch.randn(4, 3)], [torch.empty(0)]
    theirs[0] = ours[0].clone()
    a, b = run(id, ours, wave, engine), run(id, theirs, wave, "reference")
    for state in (a.state[ours[0]], b.state[theirs[0]]):
        for name, value in state.items():
            if value.ndim == 2:  # as someone may put it there by hand
                state[name] = value.t().contiguous().t()
    for optimizer, params in ((a, ours), (b, theirs)):
        params[0].grad = wave(9, params[0])
        optimizer.step()
    compare(ours, theirs, a, b, 1e-5)


@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("id", NATIVE)
def test_mixed_dtypes_in_one_group(id: str, engine: str) -> None:
    def start() -> list[Tensor]:
        torch.manual_seed(0)
        dtypes = (torch.float32, torch.bfloat16, torch.float64, torch.float16, torch.float32)
        return [torch.randn(3, 2).to(dtype) for dtype in dtypes]

    ours, theirs = start(), start()
    a, b = run(id, ours, wave, engine), run(id, theirs, wave, "reference")
    for mine, other in zip(ours, theirs, strict=True):
        compare([mine], [other], a, b, TOLERANCE[mine.dtype])


@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("id", IDS)
def test_repeats_bit_for_bit(id: str, engine: str) -> None:
    def start() -> list[Tensor]:
        torch.manual_seed(0)
        return [torch.randn(4, 3), torch.randn(5)]

    ours, theirs = start(), start()
    run(id, ours, wave, engine)
    run(id, theirs, wave, engine)
    assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("id", IDS)
def test_frozen_midway(id: str, engine: str) -> None:
    # A parameter without a gradient stays, state and all, and goes on where it was when it has one again.
    torch.manual_seed(0)
    first, second = torch.randn(3, 2), torch.randn(4)
    alone = second.clone()
    optimizer, other = (BY_ID[id].rule.optimizer(params, engine=engine) for params in ([first, second], [alone]))
    for t in range(6):
        first.grad = wave(t, first)
        second.grad = alone.grad = None if t in (2, 3) else wave(t, second)
        optimizer.step()
        other.step()
    assert torch.equal(second, alone)


@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("id", IDS)
def test_tied_parameters_move_once(id: str, engine: str) -> None:
    torch.manual_seed(0)

    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Linear(3, 3)
            self.b = torch.nn.Linear(3, 3)
            self.b.weight = self.a.weight

    model = Tied()
    single = model.a.weight.detach().clone()
    optimizer = BY_ID[id].rule.optimizer(model.parameters(), engine=engine)
    other = BY_ID[id].rule.optimizer([single], engine=engine)
    for t in range(3):
        for param in model.parameters():
            param.grad = wave(t, param)
        single.grad = wave(t, single)
        optimizer.step()
        other.step()
    torch.testing.assert_close(model.a.weight.detach(), single)


@pytest.mark.parametrize("engine", ["auto", "compiled"])
def test_data_swapped_under_the_optimizer_is_noticed(engine: str) -> None:
    # module.to(memory_format=...) keeps the Parameter and changes its strides.
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 4, 3, bias=False)
    plain = conv.weight.detach().clone()
    optimizer, other = (tw.optim.AdamW().optimizer(some, engine=engine) for some in ([conv.weight], [plain]))
    for t in range(4):
        conv.weight.grad = wave(t, conv.weight)
        plain.grad = wave(t, plain)
        optimizer.step()
        other.step()
        if t == 1:
            conv.weight.grad = None
            conv.to(memory_format=torch.channels_last)
    torch.testing.assert_close(conv.weight.detach(), plain, check_stride=False)


@pytest.mark.parametrize("engine", ["auto", "compiled"])
def test_a_state_put_in_by_hand_is_noticed(engine: str) -> None:
    w = torch.ones(3)
    optimizer = tw.optim.SGD(lr=1.0, momentum=0.5).optimizer([w], engine=engine)
    w.grad = torch.zeros(3)
    optimizer.step()
    optimizer.state[w]["momentum_buffer"] = torch.ones(3)
    optimizer.step()
    assert w.tolist() == [0.5, 0.5, 0.5]
    optimizer.state[w] = {"momentum_buffer": torch.full((3,), 2.0)}
    optimizer.step()
    assert w.tolist() == [-0.5, -0.5, -0.5]


@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("id", ["sgd-momentum", "adam", "rmsprop-centered-momentum", "nadam", "lion"])
def test_hyperparameters_as_tensors(id: str, engine: str) -> None:
    rule = BY_ID[id].rule
    ours, theirs = torch.ones(3), torch.ones(3)
    a = rule.optimizer([{"params": [ours], "lr": torch.tensor(0.05)}], engine=engine)
    b = rule.optimizer([{"params": [theirs], "lr": 0.05}])
    for t in range(3):
        ours.grad = theirs.grad = wave(t, ours)
        a.step()
        b.step()
    torch.testing.assert_close(ours, theirs)


def test_why_an_engine_was_taken() -> None:
    def engine(rule: tw.optim.Rule, name: str = "auto") -> RuleOptimizer:
        optimizer = rule.optimizer([torch.ones(2)], engine=name)
        assert isinstance(optimizer, RuleOptimizer)
        return optimizer

    assert engine(tw.optim.Adam()).engine.name == "torch"
    assert engine(tw.optim.Averaged(tw.optim.Adam())).engine.name == "torch"
    assert engine(tw.optim.Adam(), "reference").engine_reason == "asked for"
    assert engine(tw.optim.Lion()).engine.name == "reference"
    assert engine(tw.optim.Lion()).engine_reason.startswith("torch has no kernel for this rule; a kernel of our own")
    assert engine(tw.optim.SGD(momentum=0.9, dampening=0.1)).engine.name == "reference"
    with pytest.raises(ValueError, match=r"^Lion: engine='torch' was asked for, but torch has no kernel"):
        engine(tw.optim.Lion(), "torch")
    with pytest.raises(ValueError, match=r"^Adam: unknown engine 'tortch'\. Did you mean 'torch'"):
        engine(tw.optim.Adam(), "tortch")

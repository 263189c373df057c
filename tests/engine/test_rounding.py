"""Stochastic rounding to bfloat16."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from thalweg.engine import Rounder, round_stochastically


def fifty_steps(stochastic: bool, rule: tw.optim.Rule, seed: int = 0) -> torch.Tensor:
    w = torch.ones(1000, dtype=torch.bfloat16)
    optimizer = rule.optimizer([w], stochastic_rounding=stochastic, rounding_seed=seed)
    for _ in range(50):
        w.grad = torch.ones_like(w)
        optimizer.step()
    return w


@pytest.mark.parametrize("rule", [tw.optim.SGD(lr=1e-3), tw.optim.Adam(lr=1e-3), tw.optim.Lion(lr=1e-3)], ids=repr)
def test_fifty_small_steps_from_one_move(rule: tw.optim.Rule) -> None:
    # bfloat16 has 2^-8 below 1: a step of 1e-3 is a quarter of it and rounds away.
    assert torch.equal(fifty_steps(False, rule), torch.ones(1000, dtype=torch.bfloat16))
    moved = fifty_steps(True, rule).double()
    # Each of 50 draws has a deviation below 2^-9; the mean of 1000 walks is within 4 of its own deviations.
    assert abs(moved.mean().item() - 0.95) < 4 * 2**-9 * 50**0.5 / 1000**0.5
    assert moved.std() > 0


def test_a_seed_decides_and_the_state_dict_carries_it_on() -> None:
    rule = tw.optim.SGD(lr=1e-3)
    assert torch.equal(fifty_steps(True, rule, 1), fifty_steps(True, rule, 1))
    assert not torch.equal(fifty_steps(True, rule, 1), fifty_steps(True, rule, 2))
    w = torch.ones(100, dtype=torch.bfloat16)
    w.grad = torch.ones_like(w)
    optimizer = rule.optimizer([w], stochastic_rounding=True, rounding_seed=5)
    optimizer.step()
    here, saved, copied = w.clone(), copy.deepcopy(optimizer.state_dict()), copy.deepcopy(optimizer)
    optimizer.step()
    here.grad = torch.ones_like(here)
    resumed = rule.optimizer([here], stochastic_rounding=True)
    resumed.load_state_dict(saved)
    resumed.step()
    assert torch.equal(here, w)
    copied.param_groups[0]["params"][0].grad = torch.ones_like(w)
    copied.step()
    assert torch.equal(copied.param_groups[0]["params"][0], w)


def test_other_dtypes_round_to_nearest() -> None:
    a, b = torch.ones(50), torch.ones(50)
    a.grad = b.grad = torch.full((50,), 1e-3)
    tw.optim.SGD(lr=1.0).optimizer([a], stochastic_rounding=True).step()
    tw.optim.SGD(lr=1.0).optimizer([b]).step()
    assert torch.equal(a, b)


def test_float16_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^SGD: stochastic_rounding is for bfloat16, and parameter 0 of group 0 is float16"
    ):
        tw.optim.SGD().optimizer([torch.ones(2, dtype=torch.float16)], stochastic_rounding=True)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 65535))
def test_the_result_is_a_neighbour(value: float, noise: int) -> None:
    exact = torch.tensor([value], dtype=torch.float32)
    rounded = round_stochastically(exact, torch.tensor([noise], dtype=torch.int32))
    # A neighbour is one of: the value cut to 16 bits, and the next one away from zero.
    cut = (exact.view(torch.int32) & -65536).view(torch.float32)
    away = ((exact.view(torch.int32) & -65536) + 65536).view(torch.float32)
    assert rounded.float() in (cut, away)
    if torch.equal(cut, exact):
        assert torch.equal(rounded.float(), exact)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), 0.0, -0.0])
def test_specials_stay(value: float) -> None:
    exact = torch.tensor([value])
    for noise in (0, 65535):
        rounded = round_stochastically(exact, torch.tensor([noise], dtype=torch.int32))
        torch.testing.assert_close(rounded.float(), exact, equal_nan=True, rtol=0, atol=0)
        assert value != value or torch.equal(rounded.signbit(), exact.signbit())  # the sign of NaN means nothing


def test_the_mean_is_the_value() -> None:
    value = torch.full((65536,), 1.001)
    rounded = round_stochastically(value, torch.arange(65536, dtype=torch.int32))
    assert rounded.double().mean().item() == pytest.approx(value[0].item(), rel=1e-7)


def test_draws_do_not_touch_the_global_generator() -> None:
    before = torch.get_rng_state()
    Rounder(1).copy_(torch.ones(3, dtype=torch.bfloat16), torch.ones(3))
    assert torch.equal(torch.get_rng_state(), before)

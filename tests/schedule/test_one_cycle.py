"""One cycle against fastai's published formula and torch's class: the rate and the momentum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from tests.schedule.cases import ATOL, RTOL
from thalweg.schedule import Constant, Cyclic, OneCycle, ReduceOnPlateau, Warmup, from_dict, read, resolve, to_dict


def fastai_cosine(start: float, end: float, position: float) -> float:
    """fastai's ``SchedCos``: start + (1 + cos(π(1 − position))) · (end − start)/2."""
    return start + (1 + math.cos(math.pi * (1 - position))) * (end - start) / 2


def combined_cosine(share: float, start: float, middle: float, end: float, position: float) -> float:
    """fastai's ``combined_cos``: two of them, the first over *share* of the run."""
    if position < share:
        return fastai_cosine(start, middle, position / share)
    return fastai_cosine(middle, end, (position - share) / (1 - share))


@pytest.mark.parametrize(("total", "share", "div", "div_final"), [(200, 0.25, 25.0, 1e5), (93, 0.4, 10.0, 50.0)])
def test_equals_fastai_at_every_step(total: int, share: float, div: float, div_final: float) -> None:
    peak, moms = 3e-3, (0.95, 0.85, 0.95)
    found = resolve(OneCycle(pct_start=share, div=div, div_final=div_final, moms=moms), total)
    steps = np.arange(total)
    rates = [combined_cosine(share, peak / div, peak, peak / div_final, step / total) for step in range(total)]
    momentums = [combined_cosine(share, *moms, step / total) for step in range(total)]
    # fastai adds the fall to the peak, so that what is left near the end carries the peak's rounding.
    np.testing.assert_allclose(found["lr"].value(steps, peak), rates, rtol=RTOL, atol=ATOL * peak)
    np.testing.assert_allclose(found["momentum"].value(steps, 0.9), momentums, rtol=RTOL)


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_equals_torch_rate_and_momentum(three_phase: bool, strategy: str, rule: str) -> None:
    total, peak = 101, 0.2
    parameters = [torch.zeros(1, requires_grad=True)]
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(parameters, lr=0.1, momentum=0.9) if rule == "sgd" else torch.optim.Adam(parameters)
    )
    scheduler = OneCycleLR(
        optimizer,
        max_lr=peak,
        total_steps=total,
        anneal_strategy=strategy,  # type: ignore[arg-type]
        base_momentum=0.8,
        max_momentum=0.9,
        three_phase=three_phase,
    )
    rates, momentums = [], []
    for step in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        momentums.append(read(optimizer.param_groups[0], "momentum"))
        optimizer.step()
        if step < total - 1:
            scheduler.step()
    found = resolve(
        OneCycle(
            pct_start=0.3,
            div_final=25 * 1e4,
            moms=(0.9, 0.8, 0.9),
            anneal_strategy=strategy,  # type: ignore[arg-type]
            three_phase=three_phase,
            endpoint=True,
        ),
        total,
    )
    np.testing.assert_allclose(found["lr"].value(np.arange(total), peak), rates, rtol=RTOL, atol=ATOL * peak)
    np.testing.assert_allclose(found["momentum"].value(np.arange(total), 0.5), momentums, rtol=RTOL)


def test_the_last_step_meets_the_end_with_endpoint_only() -> None:
    with_end = OneCycle(endpoint=True).resolve(100)
    assert with_end.value(99, 1.0) == 1e-5
    without = OneCycle().resolve(100)
    assert without.value(99, 1.0) > 1e-4
    assert without.value(100, 1.0) == 1e-5
    assert without.value(25, 1.0) == 1.0


def test_an_absolute_peak_takes_the_place_of_the_base() -> None:
    absolute, relative = OneCycle(max_lr=0.5).resolve(40), OneCycle().resolve(40)
    steps = np.arange(40)
    assert np.array_equal(absolute.value(steps, 0.1), relative.value(steps, 0.5))


def test_groups_keep_their_ratio() -> None:
    cycle, steps = OneCycle().resolve(40), np.arange(40)
    np.testing.assert_allclose(cycle.value(steps, 1e-3), cycle.value(steps, 1.0) * 1e-3, rtol=1e-14)


@pytest.mark.parametrize(
    ("mode", "gamma"), [("triangular", 1.0), ("triangular2", 1.0), ("exp_range", 0.99)], ids=lambda value: str(value)
)
def test_cyclic_momentum_equals_torch(mode: str, gamma: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    scheduler = CyclicLR(
        optimizer,
        base_lr=0.1,
        max_lr=0.7,
        step_size_up=5,
        step_size_down=8,
        mode=mode,  # type: ignore[arg-type]
        gamma=gamma,
        base_momentum=0.75,
        max_momentum=0.95,
    )
    rates, momentums = [], []
    for _ in range(70):
        rates.append(optimizer.param_groups[0]["lr"])
        momentums.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    cycle = Cyclic(5, 8, mode, gamma, max_lr=0.7, moms=(0.95, 0.75))  # type: ignore[arg-type]
    found = resolve(cycle, 70)
    np.testing.assert_allclose(found["lr"].value(np.arange(70), 0.1), rates, rtol=RTOL)
    np.testing.assert_allclose(found["momentum"].value(np.arange(70), 0.1), momentums, rtol=RTOL)


@pytest.mark.parametrize("cycle", [OneCycle(), Cyclic(4, max_factor=10.0)], ids=["one_cycle", "cyclic"])
def test_momentum_is_highest_where_the_rate_is_lowest(cycle: OneCycle | Cyclic) -> None:
    found = resolve(cycle, 64)
    rate, momentum = (found[name].value(np.arange(64), 0.1) for name in ("lr", "momentum"))
    assert momentum[rate.argmax()] == momentum.min()
    assert (np.sign(np.diff(rate)) == -np.sign(np.diff(momentum))).all()


def test_momentum_can_be_left_alone() -> None:
    assert list(resolve(OneCycle(moms=()), 64)) == ["lr"]
    assert list(resolve(Cyclic(4, max_factor=2.0, moms=()), 64)) == ["lr"]
    for off in (OneCycle(moms=None), Cyclic(4, max_factor=2.0, moms=None)):
        assert off.moms == ()
        assert from_dict(to_dict(off)) == off


def test_momentum_waits_for_the_cycle_behind_a_join() -> None:
    found = resolve(Constant().lasting(8) >> OneCycle(pct_start=0.5), 16)
    values = found["momentum"].value(np.arange(17), 0.7)
    assert (values[:8] == 0.7).all()
    assert values[[8, 12, 16]].tolist() == [0.95, 0.85, 0.95]
    assert found["momentum"].length == 16


def test_momentum_goes_through_products_and_lengths() -> None:
    found = resolve((OneCycle(8) * ReduceOnPlateau()).lasting(8) >> Constant(0.1), 16)
    assert found["momentum"].value(np.array([0, 2, 8, 15]), 0.7).tolist() == [0.95, 0.85, 0.7, 0.7]
    assert list(resolve(Warmup(0) >> OneCycle(), 16)) == ["lr", "momentum"]


def test_momentum_of_an_unresolved_join_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Join: when OneCycle\(\) ends and Constant begins is not known yet"):
        _ = (OneCycle() >> Constant()).companions

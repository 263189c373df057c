"""Reduce on plateau: against torch's class, its state, its floors, its place in a product."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from thalweg.schedule import Cosine, Join, ReduceOnPlateau, Schedule, Step, Warmup

metrics = st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=40)


@given(
    losses=metrics,
    mode=st.sampled_from(["min", "max"]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    min_lr=st.sampled_from([0.0, 1e-3]),
)
def test_equals_torch_after_every_metric(losses: list[float], min_lr: float, **settings: object) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    theirs = ReduceLROnPlateau(optimizer, eps=0.0, min_lr=min_lr, **settings)  # type: ignore[arg-type]
    ours = ReduceOnPlateau(min_lr=min_lr, **settings)  # type: ignore[arg-type]
    state = ours.init()
    for loss in losses:
        theirs.step(loss)
        state = ours.update(state, loss)
        assert ours.apply(state, 0.4) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        assert state["best"] == theirs.best
        assert state["num_bad_epochs"] == theirs.num_bad_epochs
        assert state["cooldown_counter"] == theirs.cooldown_counter


@given(losses=metrics, stop=st.integers(0, 40))
def test_goes_on_from_its_state(losses: list[float], stop: int) -> None:
    control = ReduceOnPlateau(factor=0.7, patience=1, cooldown=1)
    whole = resumed = control.init()
    for i, loss in enumerate(losses):
        whole = control.update(whole, loss)
        if i == stop:
            resumed = json.loads(json.dumps(resumed, allow_nan=False))
        resumed = control.update(resumed, loss)
    assert resumed == whole


def test_leaves_the_old_state_alone() -> None:
    control = ReduceOnPlateau(patience=0)
    state = control.update(control.init(), 1.0)
    before = copy.deepcopy(state)
    assert control.update(state, 2.0)["multiplier"] == 0.1
    assert state == before


def test_floors() -> None:
    control = ReduceOnPlateau(factor=0.5, patience=0, min_factor=0.3, min_lr=0.02)
    state = control.init()
    found = []
    for _ in range(4):
        state = control.update(state, 1.0)
        found.append(control.multiplier(state))
    assert found == [1.0, 0.5, 0.3, 0.3]
    rates = np.array([1.0, 0.05, 0.02, 0.01, 0.0])
    assert control.apply(state, rates).tolist() == [0.3, 0.02, 0.02, 0.01, 0.0]
    assert type(control.apply(state, 0.05)) is float


def test_an_infinitely_bad_metric_is_not_better() -> None:
    control = ReduceOnPlateau(patience=1)
    state = control.init()
    for _ in range(2):
        state = control.update(state, math.inf)
    assert state == {"best": None, "num_bad_epochs": 0, "cooldown_counter": 0, "multiplier": 0.1}
    assert control.update(state, 3.0)["best"] == 3.0


@pytest.mark.parametrize(
    "schedule",
    [
        Cosine(20) * ReduceOnPlateau(),
        ReduceOnPlateau() * Cosine(20),
        Warmup(0) >> Cosine(20) * ReduceOnPlateau(),
        (ReduceOnPlateau() * Cosine(20)).lasting(20),
    ],
    ids=repr,
)
def test_is_found_in_any_combination_and_plans_nothing(schedule: Schedule) -> None:
    assert schedule.controllers == (ReduceOnPlateau(),)
    steps = np.arange(20)
    assert np.array_equal(schedule.resolve(20).value(steps, 0.5), Cosine(20).value(steps, 0.5))


def test_alone_it_is_the_base() -> None:
    control = ReduceOnPlateau().resolve(None)
    assert control.value(np.arange(3), 0.5).tolist() == [0.5, 0.5, 0.5]
    assert control.length is None
    assert (Step(3) * control).controllers == (control,)
    assert Join([Warmup(3), control]).resolve(9).value(8, 0.5) == 0.5


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"mode": "mim"}, ValueError, r"ReduceOnPlateau mode: unknown mode 'mim'\. Did you mean 'min'\?"),
        ({"threshold_mode": "relative"}, ValueError, r"ReduceOnPlateau threshold_mode: unknown mode 'relative'"),
        ({"factor": 1.0}, ValueError, r"ReduceOnPlateau: factor=1.0 must be > 0 and < 1; each reduction multiplies"),
        ({"factor": 0.0}, ValueError, r"factor=0.0 must be > 0 and < 1"),
        ({"patience": -1}, ValueError, r"ReduceOnPlateau: patience=-1 must be >= 0"),
        ({"patience": 2.5}, TypeError, r"ReduceOnPlateau: patience=2.5 must be an int, got float"),
        ({"cooldown": True}, TypeError, r"ReduceOnPlateau: cooldown=True must be an int, got bool"),
        ({"threshold": -1e-4}, ValueError, r"ReduceOnPlateau: threshold=-0.0001 must be >= 0"),
        ({"min_factor": 1.5}, ValueError, r"ReduceOnPlateau: min_factor=1.5 must be >= 0 and <= 1"),
        ({"min_lr": -1.0}, ValueError, r"ReduceOnPlateau: min_lr=-1.0 must be >= 0"),
    ],
)
def test_refuses_settings(settings: dict[str, object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        ReduceOnPlateau(**settings)  # type: ignore[arg-type]


def test_refuses_metrics_and_states() -> None:
    control = ReduceOnPlateau(monitor="val_accuracy", mode="max")
    with pytest.raises(ValueError, match="ReduceOnPlateau: val_accuracy=nan must be a number"):
        control.update(control.init(), math.nan)
    with pytest.raises(ValueError, match="ReduceOnPlateau: val_accuracy=inf could never be beaten"):
        control.update(control.init(), math.inf)
    with pytest.raises(TypeError, match="ReduceOnPlateau: val_accuracy=None must be a number, got NoneType"):
        control.update(control.init(), None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the state has the keys bests\. Did you mean 'best'\? It must have: best"):
        control.update({"bests": 1.0}, 0.5)
    with pytest.raises(ValueError, match=r"the state has the keys none\. It must have: best, cooldown_counter"):
        control.update({}, 0.5)

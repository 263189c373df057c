"""What holds for every schedule, driven by the table in cases.py."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedule.cases import ATOL, BAD, CASES, RTOL, Bad, Case
from thalweg import schedule as sched

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
SETTINGS = {name: getattr(sched, name) for name in sched.__all__}


def test_the_table_has_a_row_for_every_name() -> None:
    seen = set()
    for case in CASES:
        parts = [case.schedule, *getattr(case.schedule, "parts", ())]
        parts += [part.schedule for part in parts if isinstance(part, sched.Lasting)]
        seen |= {part.name for part in parts}
    assert seen == set(sched.NAMES)


@each_case
def test_equals_the_values_worked_out_by_hand(case: Case) -> None:
    values = case.resolved.value(np.arange(len(case.literal)), case.base)
    np.testing.assert_allclose(values, case.literal, rtol=RTOL, atol=ATOL * max(case.literal))


@pytest.mark.parametrize("case", [case for case in CASES if case.torch], ids=lambda case: case.name)
def test_equals_torch_at_every_step(case: Case) -> None:
    assert case.torch is not None
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=case.base)
    scheduler = case.torch(optimizer)
    theirs = []
    for _ in range(case.torch_steps):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    ours = case.resolved.value(np.arange(case.torch_steps), case.base)
    np.testing.assert_allclose(ours, theirs, rtol=RTOL, atol=ATOL * max(theirs))


@each_case
@settings(max_examples=15)
@given(data=st.data())
def test_a_value_does_not_depend_on_its_neighbours(case: Case, data: st.DataObject) -> None:
    schedule = case.resolved
    whole = schedule.value(np.arange(case.total + 3), case.base)
    start = data.draw(st.integers(0, case.total))
    stop = data.draw(st.integers(start + 1, case.total + 3))
    stride = data.draw(st.integers(1, 3))
    assert np.array_equal(schedule.value(np.arange(start, stop, stride), case.base), whole[start:stop:stride])
    assert schedule.value(start, case.base) == whole[start]
    shuffled = np.array(data.draw(st.permutations(range(start, stop))))
    assert np.array_equal(schedule.value(shuffled, case.base), whole[shuffled])


@each_case
def test_a_long_run_is_the_same_alone_and_in_blocks(case: Case) -> None:
    schedule = case.schedule.resolve(40_000, 100)
    whole = schedule.value(np.arange(40_000), case.base)
    for step in (0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 32_767, 32_768, 39_999):
        assert schedule.value(step, case.base) == whole[step]
    for start, stop in ((16_380, 16_390), (1, 20_001), (39_990, 40_000)):
        assert np.array_equal(schedule.value(np.arange(start, stop), case.base), whole[start:stop])


@each_case
def test_shapes_and_types(case: Case) -> None:
    schedule = case.resolved
    steps = np.arange(6).reshape(2, 3) % case.total
    values = schedule.value(steps, case.base)
    assert values.shape == (2, 3)
    assert values.dtype == np.float64
    assert np.array_equal(schedule.value(steps.astype(np.uint8)[:, ::-1], case.base), values[:, ::-1])
    assert type(schedule.value(1, case.base)) is float
    assert type(schedule.value(np.int32(1), case.base)) is float
    assert schedule.value(np.empty(0, dtype=np.int64), case.base).shape == (0,)
    assert np.isfinite(schedule.value(np.arange(case.total), case.base)).all()


@each_case
def test_a_base_may_be_an_array(case: Case) -> None:
    schedule = case.resolved
    steps = np.arange(case.total)
    bases = np.array([[1.0], [0.75]])
    values = schedule.value(steps, bases)
    assert np.array_equal(values[0], schedule.value(steps, 1.0))
    assert np.array_equal(values[1], schedule.value(steps, 0.75))


@pytest.mark.parametrize("case", [case for case in CASES if case.resolved.length], ids=lambda case: case.name)
def test_the_last_value_is_held(case: Case) -> None:
    schedule = case.resolved
    assert schedule.length is not None
    assert schedule.length <= case.total
    after = schedule.value(np.array([schedule.length, schedule.length + 1, schedule.length + 1000]), case.base)
    assert (after == after[0]).all()


@each_case
def test_its_repr_can_be_pasted(case: Case) -> None:
    if isinstance(case.schedule, sched.Product) and "ReduceOnPlateau" in repr(case.schedule):
        assert repr(case.schedule) == "Step(step_size=2, gamma=0.5) * ReduceOnPlateau(patience=3)"
    for schedule in (case.schedule, case.resolved):
        assert eval(repr(schedule), dict(SETTINGS)) == schedule


@each_case
def test_plain_data_goes_through_json(case: Case) -> None:
    for schedule in (case.schedule, case.resolved):
        text = json.dumps(sched.to_dict(schedule), allow_nan=False)
        assert sched.from_dict(json.loads(text)) == schedule


@each_case
def test_resolving_twice_changes_nothing(case: Case) -> None:
    assert case.resolved.resolve(case.total, case.per_epoch) == case.resolved
    assert hash(case.resolved) == hash(case.resolved.resolve(case.total, case.per_epoch))


@each_case
def test_is_frozen(case: Case) -> None:
    name = dataclasses.fields(case.schedule)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(case.schedule, name, None)


@each_case
def test_refuses_steps_and_bases_that_are_none(case: Case) -> None:
    schedule, who = case.resolved, type(case.schedule).__name__
    with pytest.raises(ValueError, match=rf"{who}: step=-1 is negative; the first update is step 0"):
        schedule.value(np.array([3, -1]), case.base)
    with pytest.raises(TypeError, match=rf"{who}: step must be an int or an integer array, got float64"):
        schedule.value(np.array([0.5]), case.base)
    with pytest.raises(TypeError, match="step must be an int or an integer array, got bool"):
        schedule.value(True, case.base)
    with pytest.raises(ValueError, match=r"base=-0.1 must be >= 0; a rate, momentum or decay is not negative"):
        schedule.value(0, -0.1)
    with pytest.raises(ValueError, match="base=nan must be >= 0"):
        schedule.value(0, float("nan"))
    with pytest.raises(TypeError, match="base=None must be a number, got NoneType"):
        schedule.value(0, None)  # type: ignore[call-overload]


@each_case
def test_refuses_runs_that_are_none(case: Case) -> None:
    with pytest.raises(ValueError, match=r"total_steps=0 must be >= 1; a run without updates has no schedule"):
        case.schedule.resolve(0)
    with pytest.raises(TypeError, match=r"total_steps=10.0 must be an int or None, got float"):
        case.schedule.resolve(10.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="steps_per_epoch=-1 must be >= 1"):
        case.schedule.resolve(10, -1)


@each_case
def test_as_torch_resumes_bit_for_bit(case: Case) -> None:
    def start() -> tuple[torch.optim.Optimizer, sched.ScheduleLR]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=case.base)
        return optimizer, sched.as_torch(case.schedule, optimizer, case.total, case.per_epoch)

    optimizer, scheduler = start()
    rates, saved = [], []
    for _ in range(case.total):
        rates.append(optimizer.param_groups[0]["lr"])
        saved.append(json.dumps(scheduler.state_dict()))
        optimizer.step()
        scheduler.step()
    assert rates == case.resolved.value(np.arange(case.total), case.base).tolist()
    for stop in {1, case.total // 2, case.total - 1}:
        optimizer, scheduler = start()
        scheduler.load_state_dict(json.loads(saved[stop]))
        for step in range(stop, case.total):
            assert optimizer.param_groups[0]["lr"] == scheduler.get_last_lr()[0] == rates[step]
            optimizer.step()
            scheduler.step()


@pytest.mark.parametrize("bad", [bad for _, bad in BAD], ids=[name for name, _ in BAD])
def test_refuses(bad: Bad) -> None:
    with pytest.raises(bad.error, match=bad.match):
        bad.call()

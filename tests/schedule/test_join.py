"""Joins and products: continuity, clocks, associativity, lengths, events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedule.cases import CASES, Case
from thalweg import schedule as sched
from thalweg.schedule import Clock, Constant, Cosine, Exponential, Join, Linear, MultiStep, Product, Schedule, Step
from thalweg.schedule import Warmup as WarmUp

shapes = st.sampled_from(["linear", "exponential", "cosine", "1-sqrt"])
STEPS = np.arange(40)


@pytest.mark.parametrize("case", [case for case in CASES if case.starts_at_base], ids=lambda case: case.name)
@settings(max_examples=30)
@given(steps=st.integers(0, 50), shape=shapes, base=st.floats(0.25, 10.0))  # above every floor of the table
def test_a_warm_up_joins_without_a_jump(case: Case, steps: int, shape: str, base: float) -> None:
    warm = WarmUp(steps, shape)  # type: ignore[arg-type]
    then = case.resolved
    if isinstance(then, sched.Cyclic) and then.max_lr is not None:
        base = min(base, then.max_lr)
    joined = (warm >> then).resolve(steps + case.total, case.per_epoch)
    assert warm.value(steps, base) == base
    assert joined.value(steps, base) == pytest.approx(base, rel=1e-15)
    assert np.array_equal(joined.value(steps + np.arange(case.total), base), then.value(np.arange(case.total), base))


@given(shape=shapes, steps=st.integers(1, 60), start=st.floats(1e-3, 1.0))
def test_a_warm_up_rises_and_never_passes_the_base(shape: str, steps: int, start: float) -> None:
    values = WarmUp(steps, shape, start).value(np.arange(steps + 2), 1.0)  # type: ignore[arg-type]
    assert values[0] == start
    assert (np.diff(values) >= -2e-16).all()
    assert values.max() == values[-1] == 1.0


@given(data=st.data())
def test_steps_are_the_parts_one_after_another(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    parts = [
        data.draw(st.sampled_from([Linear(n), Cosine(n), WarmUp(n), Exponential(0.9).lasting(n)])) for n in lengths
    ]
    joined = Join(tuple(parts)).resolve(sum(lengths))
    pieces = [part.value(np.arange(n), 2.0) for part, n in zip(parts, lengths, strict=True)]
    assert np.array_equal(joined.value(np.arange(sum(lengths)), 2.0), np.concatenate(pieces))
    assert joined.length == sum(lengths)


def test_joining_is_associative_and_flat() -> None:
    a, b, c = WarmUp(3), Constant().lasting(4), Cosine(5)
    assert (a >> b) >> c == a >> (b >> c) == Join([a, b, c]) == Join((Join((a, b)), c))
    assert (a >> b >> c).parts == (a, b, c)  # type: ignore[attr-defined]


def test_multiplying_is_associative_and_flat() -> None:
    a, b, c = Cosine(30, eta_min=0.1), Step(5, gamma=0.8), WarmUp(4, start=0.5)
    assert (a * b) * c == a * (b * c) == Product([a, b, c])
    steps = np.arange(30)
    expected = a.value(steps, b.value(steps, c.value(steps, 2.0)))
    assert np.array_equal((a * b * c).value(steps, 2.0), expected)


def test_factors_multiply() -> None:
    product = Step(7, gamma=0.5) * Exponential(0.99)
    expected = Step(7, gamma=0.5).value(STEPS, 1.0) * Exponential(0.99).value(STEPS, 1.0) * 3.0
    np.testing.assert_allclose(product.value(STEPS, 3.0), expected, rtol=1e-15)


def test_a_product_of_a_join_is_written_with_brackets() -> None:
    product = (WarmUp(2) >> Linear(3)) * Constant(0.5)
    assert repr(product) == "(Warmup(steps=2) >> Linear(steps=3)) * Constant(factor=0.5)"
    assert repr(Constant(0.5) * WarmUp(2) >> Linear(3)) == "Constant(factor=0.5) * Warmup(steps=2) >> Linear(steps=3)"


def test_shares_are_of_the_whole_run() -> None:
    resolved = (WarmUp("10%") >> Constant() >> Linear("20%") >> Cosine(0.5)).resolve(200)
    assert repr(resolved) == ("Warmup(steps=20) >> Constant().lasting(40) >> Linear(steps=40) >> Cosine(steps=100)")


def test_the_rest_goes_to_the_open_part() -> None:
    assert (WarmUp(30) >> Cosine()).resolve(100) == WarmUp(30) >> Cosine(70)
    assert (WarmUp(30) >> Cosine() >> Constant(0.1).lasting(20)).resolve(100).length == 100
    assert (WarmUp(30) * Constant() >> Linear(20)).resolve(100).value(75, 1.0) == 1.0


def test_an_endless_part_may_come_last() -> None:
    assert (WarmUp(3) >> Constant()).resolve(None).length is None
    assert (WarmUp(3) >> Step(4)).resolve(10).length is None
    assert (WarmUp(10) >> Constant()).resolve(10).value(10, 1.0) == 1.0


def test_an_epoch_that_is_cut_off_counts() -> None:
    joined = (WarmUp(3) >> Cosine(every="epoch")).resolve(13, 4)
    assert joined == WarmUp(3) >> Cosine(3, every="epoch", steps_per_epoch=4)
    ended = (Cosine(every="epoch") >> Linear(3)).resolve(13, 4)
    assert ended.value(np.array([9, 10, 12]), 1.0) == pytest.approx([0.25, 1.0, 1 / 3], rel=1e-12)


def test_the_length_of_a_product() -> None:
    assert (WarmUp(5) * Cosine(20)).length == 20
    assert (WarmUp(5) * Constant()).length is None
    assert (WarmUp(5) * Cosine()).length is None
    assert (WarmUp(5) * Cosine()).resolve(30).length == 30
    assert ((WarmUp(5) * Cosine(8)) >> Linear()).resolve(30) == (WarmUp(5) * Cosine(8)) >> Linear(22)


def test_products_and_lengths_of_lengths_fit_or_are_refused() -> None:
    with pytest.raises(ValueError, match="Cosine: it lasts 20 steps but has 10"):
        (WarmUp(5) * Cosine(20)).resolve(10)
    with pytest.raises(ValueError, match=r"Cosine: it lasts 20 steps but has 5 of a run of 10"):
        Cosine(20).lasting(5).resolve(10)
    with pytest.raises(ValueError, match=r"Linear: it lasts 8 steps but has 10|Join: its parts need 13 steps"):
        (WarmUp(5) >> Linear(8)).resolve(10)


CHANGING: dict[str, tuple[Schedule, list[int]]] = {
    "step": (Step(10), [10, 20, 30, 40]),
    "multi-step": (MultiStep([40, 5, 5]), [5, 40]),
    "per epoch": (Step(2, every="epoch"), [14, 28, 42]),
    "behind a join": (WarmUp(5) >> Step(20), [25, 45]),
    "before a join": (Step(3).lasting(8) >> Cosine(), [3, 6]),
    "in a product": (Step(20) * MultiStep([7, 20]) * Cosine(), [7, 20, 40]),
    "smooth": (WarmUp(5) >> Cosine(), []),
}


@pytest.mark.parametrize(("schedule", "expected"), list(CHANGING.values()), ids=list(CHANGING))
@given(start=st.integers(0, 50), stop=st.integers(0, 50))
def test_the_changes_of_step_schedules(schedule: Schedule, expected: list[int], start: int, stop: int) -> None:
    changes = schedule.resolve(50, 7).changes(start, stop)
    assert changes.dtype == np.int64
    assert changes.tolist() == [step for step in expected if start <= step < stop]


@given(size=st.integers(1, 9), total=st.integers(10, 60), spe=st.integers(1, 5))
def test_changes_are_where_the_value_changes(size: int, total: int, spe: int) -> None:
    schedule = Step(1, gamma=0.5, every="epoch").resolve(total + 5, spe) if size == 1 else Step(size, gamma=0.5)
    values = schedule.value(np.arange(total), 1.0)
    assert schedule.changes(1, total).tolist() == (np.flatnonzero(np.diff(values)) + 1).tolist()


def test_clocks_say_what_they_need() -> None:
    clock = Clock.of("Cosine", 10, None)
    with pytest.raises(ValueError, match=r"Cosine: steps='2 epochs' needs the steps per epoch, which are unknown here"):
        clock.count("Cosine", "steps", "2 epochs")

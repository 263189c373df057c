"""The two rungs of a verification, on losses that are a formula of the rate instead of a training."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.find import Trial
from thalweg.find.suggest import edge
from thalweg.find.trials import held
from thalweg.find.verify import lattice, most_updates, weighed

BEFORE = 2.3
STEPS = 10
Loss = Callable[[float, int], float]


class Formula:
    """A trainer whose trainings end at the loss that a formula gives for rate and updates."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def before(self) -> float:
        return BEFORE

    def train(self, rates: Sequence[float], steps: int) -> list[Trial]:
        losses = [self.loss(rate, steps) for rate in rates]
        pairs = zip(rates, losses, strict=True)
        return [Trial(rate, loss, steps if math.isfinite(loss) else min(8, steps)) for rate, loss in pairs]


def verified(loss: Loss, start: float) -> tuple[list[Trial], float | None]:
    """Return what a verification makes of a formula."""
    nothing: Any = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["thalweg.find.verify"], "trainer_of", lambda parts, snapshot, most: Formula(loss))
        return sys.modules["thalweg.find.verify"].verify(nothing, nothing, start, STEPS)  # type: ignore[no-any-return]


def bowl(best: float) -> Loss:
    """A loss that is 0.1 at *best*, and doubles in half a decade on either side."""
    return lambda rate, steps: min(BEFORE, 0.1 * 4 ** abs(math.log10(rate / best)))


@settings(max_examples=60, deadline=None)
@given(st.floats(-5.0, 1.0), st.floats(-0.8, 0.8))
def test_the_best_rate_is_found_from_near_it_within_the_budget(best: float, off: float) -> None:
    trials, chosen = verified(bowl(10**best), 10 ** (best + off))
    assert chosen is not None
    assert abs(math.log10(chosen) - best) <= 0.25
    assert sum(trial.steps for trial in trials) <= most_updates(STEPS) == 11 * STEPS
    assert len({(trial.lr, trial.steps) for trial in trials}) == len(trials)


def test_rates_that_diverge_leave_budget_for_climbing_down() -> None:
    def breaks(rate: float, steps: int) -> float:
        return math.inf if rate > 2e-3 else 0.1 * 4 ** abs(math.log10(rate / 1e-3))

    trials, chosen = verified(breaks, 0.01)
    assert chosen == 1e-3
    assert [trial.lr for trial in trials if trial.steps == STEPS] == [0.00032, 0.001]


def test_a_rung_goes_on_from_the_end_that_is_the_best() -> None:
    # The long trainings' best rate is two quarters of a decade below the short ones'.
    trials, chosen = verified(lambda rate, steps: bowl(0.1 if steps == STEPS else 0.032)(rate, steps), 0.1)
    assert [trial.lr for trial in trials if trial.steps == 2 * STEPS] == [0.032, 0.056, 0.1, 0.18]
    assert chosen == 0.032


def test_of_rates_that_do_the_same_the_lowest_is_the_best_of_a_rung() -> None:
    # As a rule does that clips its steps: all rates above 0.03 are alike, up to rounding.
    def clipped(rate: float, steps: int) -> float:
        return bowl(0.032)(min(rate, 0.032), steps) * (1 - 1e-15 * rate)

    trials, _ = verified(clipped, 0.1)
    assert [trial.lr for trial in trials if trial.steps == STEPS] == [0.01, 0.032, 0.1, 0.32]


def test_nothing_is_decided_where_no_rate_lowers_the_loss() -> None:
    trials, chosen = verified(lambda rate, steps: BEFORE, 0.1)
    assert chosen is None
    assert trials


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({-8: 1.0, -7: 1.0, -6: 1.0}, -7),
        ({-8: 1.0, -7: 1.0, -6: 9.0}, -8),  # half-way between two is the lower
        ({-8: 1.3, -7: 1.0, -6: 1.3}, -7),
        ({-8: 1.04, -7: 1.02, -6: 1.0}, -7),
        ({-8: math.inf, -7: 1.0, -6: math.inf}, -7),
        ({-8: 0.2, -7: 0.0, -6: 0.1}, -7),  # nothing left of the loss: no measure of noise
    ],
)
def test_the_middle_of_what_noise_cannot_tell_apart(losses: dict[int, float], expected: int) -> None:
    assert weighed(BEFORE, losses) == expected


@given(st.lists(st.floats(0.5, 2.0), min_size=3, max_size=5))
def test_the_weighed_rate_lies_among_the_rates_and_losses_have_no_unit(losses: list[float]) -> None:
    numbered = dict(enumerate(losses, start=-9))
    found = weighed(4.0, numbered)
    assert min(numbered) <= found <= max(numbered)
    assert found == weighed(4.0 * 1024, {index: 1024 * loss for index, loss in numbered.items()})


@pytest.mark.parametrize("steps", [1, 2, 8, 16, 32, 100])
def test_the_rate_is_held_and_then_falls_to_zero(steps: int) -> None:
    curve = held(steps).value(np.arange(steps + 1), base=1.0)
    decay = max(1, round(steps / 3))
    assert (curve[: steps - decay + 1] == 1.0).all()
    assert np.allclose(np.diff(curve[steps - decay :]), -1 / decay)
    assert curve[-1] == 0.0


def test_the_edge_of_a_noisy_sweep_is_where_the_loss_bursts() -> None:
    # The noise is as large as the fall, which it hides; it does not hide the burst.
    rates = np.geomspace(1e-6, 10.0, 60)
    losses = BEFORE - 0.05 * (rates > 1e-3) + 5.0 * (rates / 1e-2) ** 2
    seen = losses < 9.0  # a sweep ends there
    near = 0
    for seed in range(200):
        noisy = losses + 0.05 * np.random.default_rng(seed).normal(size=rates.size)
        near += 3e-4 <= edge(rates[seen], noisy[seen]) <= 1e-2
    assert near >= 196


def test_round_rates_are_a_quarter_of_a_decade_apart() -> None:
    assert [lattice(index) for index in range(-4, 1)] == [0.1, 0.18, 0.32, 0.56, 1.0]

"""What a curve suggests: known shapes, noise, and curves that suggest nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.find import suggest
from thalweg.find.smooth import local_lines, noise_of
from thalweg.find.suggest import METHODS

LR = np.geomspace(1e-7, 1.0, 100)


def curve(knee: float = 2e-3, edge: float = 0.2, start: float = 2.3, fall: float = 1.8) -> np.ndarray:
    """A loss that falls around the rate *knee* and explodes from *edge* on."""
    return start - fall / (1 + (knee / LR) ** 1.2) + (LR / edge) ** 2


def test_steepest_is_the_knee() -> None:
    # The slope of the logistic curve in log rate is largest at the knee itself.
    assert suggest(LR, curve()).rates["steepest"] == pytest.approx(2e-3, rel=0.25)


def test_minimum_is_a_tenth_of_the_rate_of_least_loss() -> None:
    losses = curve()
    assert suggest(LR, losses).rates["minimum"] == pytest.approx(LR[losses.argmin()] / 10, rel=0.6)


def test_every_method_lies_where_the_loss_falls() -> None:
    losses = curve()
    rates = suggest(LR, losses).rates
    assert set(rates) == set(METHODS)
    assert all(1e-4 < rate <= LR[losses.argmin()] for rate in rates.values())
    assert rates["steepest"] <= rates["slide"]


@pytest.mark.parametrize("method", [*METHODS, None])
def test_the_unit_of_the_rate_does_not_matter(method: str | None) -> None:
    before, after = suggest(LR, curve()), suggest(LR * 1e3, curve())
    pick = (lambda found: found.suggestion) if method is None else (lambda found: found.rates[method])
    assert pick(after) == pytest.approx(1e3 * pick(before), rel=1e-9)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_unit_of_the_loss_does_not_matter(factor: float) -> None:
    assert suggest(LR, factor * curve()).suggestion == pytest.approx(suggest(LR, curve()).suggestion, rel=1e-9)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), shift=st.floats(-5, 5))
def test_a_constant_added_to_the_loss_does_not_matter(seed: int, shift: float) -> None:
    losses = curve() + 0.01 * np.random.default_rng(seed).normal(size=LR.size)
    assert suggest(LR, losses + shift).suggestion == pytest.approx(suggest(LR, losses).suggestion, rel=1e-6)


def test_noise_moves_the_suggestion_by_less_than_a_factor_of_three() -> None:
    clean = suggest(LR, curve()).suggestion
    assert clean is not None
    found = [suggest(LR, curve() + 0.01 * np.random.default_rng(s).normal(size=LR.size)).suggestion for s in range(300)]
    near = [rate is not None and 1 / 3 <= rate / clean <= 3 for rate in found]
    assert np.mean(near) >= 0.99


def test_the_gradient_against_the_rate_itself_would_fail_there() -> None:
    # What the finder does not do: under the same noise it picks a rate thousands of times too low.
    losses = curve() + 0.01 * np.random.default_rng(0).normal(size=LR.size)
    assert LR[10:-1][np.gradient(losses[10:-1], LR[10:-1]).argmin()] < 1e-5


def test_the_band_holds_most_of_what_noise_does() -> None:
    found = [suggest(LR, curve() + 0.05 * np.random.default_rng(s).normal(size=LR.size)) for s in range(40)]
    clean = suggest(LR, curve()).suggestion
    assert clean is not None
    inside = [f.band is not None and f.band[0] <= clean <= f.band[1] for f in found]
    assert np.mean(inside) >= 0.75
    assert all(f.suggestion is None or f.band[0] <= f.suggestion <= f.band[1] for f in found if f.band)


def test_one_odd_batch_changes_little() -> None:
    losses = curve()
    losses[40] = 50.0
    assert suggest(LR, losses).suggestion == pytest.approx(suggest(LR, curve()).suggestion, rel=0.35)


@pytest.mark.parametrize(
    ("losses", "at_end", "reason"),
    [
        (np.full(100, 2.3), True, "did not fall at any rate by more than its noise"),
        (2.3 + 0.1 * np.random.default_rng(1).normal(size=100), True, "did not fall at any rate"),
        (np.linspace(2.0, 5.0, 100), False, "did not fall at any rate"),
        (curve(knee=3.0, edge=1e9), True, "still falling at the highest rate, 1; raise"),
        (1.0 + np.exp(-np.arange(100) / 5.0), True, "fell fastest at the lowest rates, from 1e-07 on"),
    ],
)
def test_curves_that_suggest_nothing_say_why(losses: np.ndarray, at_end: bool, reason: str) -> None:
    found = suggest(LR, losses, at_end=at_end)
    assert found.suggestion is None
    assert found.method == ""
    assert reason in found.reason


def test_a_short_sweep_suggests_nothing() -> None:
    assert "ended after 6 updates" in suggest(LR[:6], curve()[:6]).reason


@pytest.mark.parametrize(
    ("lr", "loss", "message"),
    [
        (LR, curve()[:50], r"suggest: lr has shape \(100,\) and loss \(50,\)"),
        (LR[::-1], curve(), "suggest: rates must be positive and rising"),
        (LR, np.where(LR > 0.5, np.nan, curve()), "losses finite; cut the sweep where it diverged"),
    ],
)
def test_input_that_is_no_curve_is_refused(lr: np.ndarray, loss: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        suggest(lr, loss)


def test_noise_is_that_of_neighbouring_losses() -> None:
    rng = np.random.default_rng(3)
    straight = np.linspace(4, 1, 5000)
    assert noise_of(straight) == pytest.approx(0.0, abs=1e-12)
    assert noise_of(straight + 0.02 * rng.normal(size=5000)) == pytest.approx(0.02, rel=0.1)


def test_local_lines_against_weighted_least_squares() -> None:
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 4, 25))
    y = np.sin(x)
    fit = local_lines(x, y, width=1.5, robust=0)
    for i in (0, 7, 24):
        reach = max(1.5, 1.0001 * np.sort(np.abs(x - x[i]))[4])
        weights = np.clip(1 - (np.abs(x - x[i]) / reach) ** 3, 0, None) ** 3
        slope, value = np.polyfit(x - x[i], y, 1, w=np.sqrt(weights))
        assert fit.values[i] == pytest.approx(value, rel=1e-9)
        assert fit.slopes[i] == pytest.approx(slope, rel=1e-9)

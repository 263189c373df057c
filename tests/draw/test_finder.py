"""The finder's figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.draw.layout import assert_legible
from thalweg.draw import finder

RATES = np.logspace(-6, 0, 61)
LOSS = 2.0 - 1.5 / (1 + np.exp(-3 * (np.log10(RATES) + 3)))


def test_marks_stand_on_the_smoothed_curve() -> None:
    axes = finder(RATES, LOSS + 0.1, LOSS, {"valley": 1e-3, "slide": 3e-2}, skip_start=0, skip_end=0).axes[0]
    assert axes.get_xscale() == "log"
    marks = {
        str(line.get_label()): np.asarray(line.get_xydata())[0] for line in axes.lines if line.get_marker() != "None"
    }
    assert marks["valley 1.00e-03"] == pytest.approx([1e-3, 1.25])
    # Between two points of the sweep the height is linear in log rate.
    between = np.interp(np.log(3e-2), np.log(RATES), LOSS)
    assert marks["slide 3.00e-02"] == pytest.approx([3e-2, between])


def test_first_and_last_points_are_skipped() -> None:
    axes = finder(RATES, LOSS, LOSS, {}, skip_start=10, skip_end=5).axes[0]
    assert np.array_equal(axes.lines[0].get_xdata(), RATES[10:-5])


def test_band_is_shaded() -> None:
    axes = finder(RATES, LOSS, LOSS, {"valley": 1e-3}, band=(5e-4, 2e-3)).axes[0]
    (band,) = axes.patches
    assert band.get_extents().transformed(axes.transData.inverted()).intervalx == pytest.approx([5e-4, 2e-3])


def test_divergence_of_the_raw_loss_does_not_flatten_the_rest() -> None:
    raw = LOSS.copy()
    raw[30] = 1e6
    assert finder(RATES, raw, LOSS, {}, skip_start=0, skip_end=0).axes[0].get_ylim()[1] < 1e6


def test_not_finite_losses_are_drawn_around() -> None:
    raw, smooth = LOSS.copy(), LOSS.copy()
    raw[-3:], smooth[-3:] = np.inf, np.nan
    assert_legible(finder(RATES, raw, smooth, {"valley": 1e-3}, skip_start=0, skip_end=0))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_legible(count: int) -> None:
    names = dict(zip(["steepest", "valley", "slide", "minimum"][:count], [1e-4, 1e-3, 1e-2, 1e-1], strict=False))
    assert_legible(finder(RATES, LOSS, LOSS, names, band=(5e-4, 2e-3)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": RATES[::-1]}, r"finder: lr must be positive and rising"),
        ({"lr": RATES - 1e-6}, r"finder: lr must be positive and rising"),
        ({"skip_start": 40, "skip_end": 20}, r"skip_start=40 and skip_end=20 leave fewer than two of 61 points"),
        ({"skip_start": -1}, r"finder: skip_start=-1 must be >= 0"),
        ({"band": (2e-3, 1e-3)}, r"finder: band=\(0.002, 0.001\) is no interval of positive rates"),
        ({"suggestions": {"valley": 0.0}}, r"finder: suggestions\['valley'\]=0.0 must be > 0"),
        ({"loss": LOSS[1:]}, r"finder: loss has 60 values, lr has 61"),
    ],
)
def test_wrong_arguments_are_refused(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"lr": RATES, "loss": LOSS, "smoothed": LOSS, "suggestions": {}} | changed
    with pytest.raises(ValueError, match=message):
        finder(**arguments)

"""Rates, momentum, and schedules before they run."""

from __future__ import annotations

import numpy as np
import pytest

from tests.draw.layout import assert_legible
from thalweg.draw import rates, schedule

STEP = np.arange(1000)
RISE_AND_FALL = np.concatenate([np.linspace(4e-4, 1e-2, 250), np.linspace(1e-2, 1e-7, 750)])


def test_one_panel_per_quantity_with_its_groups() -> None:
    values = {"lr/body": RISE_AND_FALL / 10, "lr/head": RISE_AND_FALL, "momentum": 0.95 - RISE_AND_FALL}
    upper, lower = rates(STEP, values).axes
    assert upper.get_title(loc="left") == "learning rate"
    assert [text.get_text() for text in upper.get_legend().get_texts()] == ["body", "head"]
    assert np.array_equal(upper.lines[1].get_ydata(), RISE_AND_FALL)
    assert lower.get_title(loc="left") == "momentum"
    assert lower.get_legend() is None
    assert lower.get_xlabel() == "step"


def test_groups_on_one_rate_share_a_line() -> None:
    axes = rates(STEP, {f"lr/layer{i}": RISE_AND_FALL for i in range(5)} | {"lr/head": RISE_AND_FALL * 2}).axes[0]
    assert len(axes.lines) == 2


def test_many_groups_are_all_drawn_and_counted() -> None:
    axes = rates(STEP, {f"lr/layer{i}": RISE_AND_FALL * (i + 1) for i in range(20)}).axes[0]
    assert len(axes.lines) == 20
    assert [text.get_text() for text in axes.get_legend().get_texts()][-1] == "14 more"


def test_what_was_never_recorded_has_no_panel() -> None:
    picture = rates([1, 2], {"lr": [0.1, 0.1], "momentum": [np.nan, np.nan]})
    assert len(picture.axes) == 1


def test_nothing_recorded_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rates: no value is recorded.*pass at least \{'lr': values\}"):
        rates([1], {"lr": [np.nan]})


def test_schedule_names_first_turn_and_last() -> None:
    upper, lower = schedule(STEP, {"lr": RISE_AND_FALL, "momentum": 0.95 - 10 * RISE_AND_FALL}).axes
    assert [text.get_text() for text in upper.texts] == ["0.0004", "0.01", "1e-07"]
    assert [text.get_text() for text in lower.texts] == ["0.946", "0.85", "0.95"]


@pytest.mark.parametrize("values", [np.full(1000, 0.1), RISE_AND_FALL, RISE_AND_FALL[::-1], np.linspace(1, 0, 1000)])
def test_schedule_is_legible(values: np.ndarray) -> None:
    picture = schedule(STEP, {"lr": values, "momentum": 1 - values})
    assert_legible(picture)
    for axes in picture.axes:
        points = axes.transData.transform(axes.lines[0].get_xydata())
        for label in axes.texts:
            box = label.get_window_extent().padded(-1)
            covered = [point for point in points if box.contains(*point)]
            assert not covered, f"{label.get_text()} lies on the curve"


def test_rates_are_legible() -> None:
    assert_legible(rates(STEP, {f"lr/layer{i}": RISE_AND_FALL * (i + 1) for i in range(9)}))


def test_a_plan_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match=r"schedule: lr is nan at step 1, but a plan is finite everywhere"):
        schedule([0, 1], [0.1, np.nan])

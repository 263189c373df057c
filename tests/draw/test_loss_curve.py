"""The loss curve: what is drawn, where the gaps are, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.draw.layout import assert_legible
from thalweg.draw import loss_curve


def test_draws_the_numbers_it_was_given() -> None:
    step, loss, smoothed = [10, 20, 30], [3.0, 1.0, 2.0], [3.0, 2.5, 2.2]
    axes = loss_curve(step, loss, smoothed, valid=([20, 30], [1.5, 1.4])).axes[0]
    drawn = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert drawn["raw"] == [[10, 3], [20, 1], [30, 2]]
    assert drawn["smoothed"] == [[10, 3], [20, 2.5], [30, 2.2]]
    assert drawn["validation"] == [[20, 1.5], [30, 1.4]]


def test_raw_is_pale_beneath_the_smoothed() -> None:
    axes = loss_curve([1, 2], [2.0, 1.0], [2.0, 1.5]).axes[0]
    raw, smoothed = axes.lines
    assert raw.get_alpha() < 0.5
    assert smoothed.get_alpha() is None
    assert raw.get_linewidth() < smoothed.get_linewidth()


def test_steps_that_are_not_finite_are_gaps_with_marks() -> None:
    loss = np.ones(100)
    loss[40:45], loss[60] = np.nan, np.inf
    axes = loss_curve(np.arange(100), loss).axes[0]
    curve, marks = axes.lines
    assert np.isnan(curve.get_ydata()[40:45]).all()
    assert marks.get_label() == "not finite (6)"
    assert np.asarray(marks.get_xdata()).tolist() == [40, 41, 42, 43, 44, 60]


def test_a_spike_survives_thinning() -> None:
    loss = np.full(200_000, 1.0)
    loss[123_457] = 40.0
    curve = loss_curve(np.arange(loss.size), loss).axes[0].lines[0]
    assert len(np.asarray(curve.get_xdata())) <= 5000
    assert [123_457, 40.0] in np.asarray(curve.get_xydata()).tolist()


@pytest.mark.parametrize(
    ("loss", "log", "scale"),
    [
        ([100.0, 0.5], None, "log"),
        ([4.0, 0.5], None, "linear"),
        ([100.0, 0.0], None, "linear"),
        ([100.0, 0.5], False, "linear"),
        ([4.0, 0.5], True, "log"),
    ],
)
def test_the_axis_is_logarithmic_where_losses_span_decades(loss: list[float], log: bool | None, scale: str) -> None:
    assert loss_curve([1, 2], loss, log=log).axes[0].get_yscale() == scale


@pytest.mark.parametrize("steps", [1, 2, 7, 3000])
def test_legible(steps: int) -> None:
    step = np.arange(1, steps + 1)
    loss = 3.0 / step
    loss[steps // 2] = np.nan if steps > 2 else 1.0
    assert_legible(loss_curve(step * 1000, loss, loss, valid=(step[-1:] * 1000, loss[-1:])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1.0]), r"loss_curve: loss has 1 value, step has 2; one value belongs to each step"),
        (([], []), r"loss_curve: step is empty"),
        (([[1]], [1.0]), r"loss_curve: step has the shape \(1, 1\)"),
        (([1], [1.0], [1.0, 2.0]), r"loss_curve: smoothed has 2 values, step has 1"),
    ],
)
def test_wrong_arrays_are_refused(arguments: tuple[list[float], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_curve(*arguments)


def test_wrong_validation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"valid has 3 parts but holds steps and losses; pass valid=\(step, loss\)"):
        loss_curve([1], [1.0], valid=[[1], [1.0], [2.0]])


def test_text_is_refused() -> None:
    with pytest.raises(TypeError, match=r"loss_curve: loss cannot be read as numbers"):
        loss_curve([1], ["high"])

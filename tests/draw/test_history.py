"""A run at a glance."""

from __future__ import annotations

import numpy as np
import pytest

from tests.draw.layout import assert_legible
from thalweg.draw import history

N = 600
STEP = np.arange(1, N + 1)
COLUMNS = {
    "step": STEP,
    "epoch": STEP // 100,
    "loss": 3.0 / np.sqrt(STEP),
    "smoothed": 3.0 / np.sqrt(STEP),
    "weight": np.full(N, 64.0),
    "grad_norm": 5.0 / STEP,
    "lr": np.linspace(0.01, 0, N),
    "momentum": np.full(N, 0.9),
}
EPOCHS = {
    "epoch": [1, 2, 3],
    "step": [200, 400, 600],
    "loss": [0.5, 0.2, 0.1],
    "val_loss": [0.6, 0.3, 0.2],
    "val_accuracy": [0.7, 0.8, 0.9],
    "accuracy": [0.75, 0.85, 0.95],
    "seconds": [1.0, 1.0, 1.0],
}


def titles(columns: dict[str, object], epochs: object = None) -> list[str]:
    picture = history(columns, epochs)
    return [axes.get_title(loc="left") for axes in picture.axes]


def test_a_panel_for_each_thing_recorded() -> None:
    assert titles(COLUMNS, EPOCHS) == ["loss", "learning rate", "momentum", "gradient norm", "accuracy"]
    assert titles(COLUMNS) == ["loss", "learning rate", "momentum", "gradient norm"]


def test_rows_are_read_like_columns() -> None:
    rows = [{name: values[i] for name, values in EPOCHS.items()} for i in range(3)]
    by_columns, by_rows = history(COLUMNS, EPOCHS), history(COLUMNS, rows)
    for one, other in zip(by_columns.axes, by_rows.axes, strict=True):
        for a, b in zip(one.lines, other.lines, strict=True):
            assert np.array_equal(a.get_xydata(), b.get_xydata(), equal_nan=True)


def test_validation_stands_on_the_steps_of_its_epochs() -> None:
    axes = history(COLUMNS, EPOCHS).axes[0]
    (valid,) = (line for line in axes.lines if line.get_label() == "validation")
    assert np.asarray(valid.get_xydata()).tolist() == [[200, 0.6], [400, 0.3], [600, 0.2]]


def test_training_and_validation_metric_share_a_panel() -> None:
    metric = history(COLUMNS, EPOCHS).axes[-1]
    assert sorted(str(line.get_label()) for line in metric.lines) == ["training", "validation"]


def test_what_was_never_recorded_is_left_out() -> None:
    silent = {**COLUMNS, "grad_norm": np.full(N, np.nan), "momentum": np.full(N, np.nan)}
    assert titles(silent, {**EPOCHS, "val_loss": [np.nan] * 3, "val_accuracy": [np.nan] * 3}) == [
        "loss",
        "learning rate",
        "accuracy",
    ]


def test_one_step() -> None:
    assert_legible(history({name: values[:1] for name, values in COLUMNS.items()}))


@pytest.mark.parametrize("epochs", [None, EPOCHS, {**EPOCHS, "val_f1": [0.1, 0.2, 0.3]}])
def test_legible(epochs: dict[str, list[float]] | None) -> None:
    assert_legible(history(COLUMNS, epochs))


@pytest.mark.parametrize("missing", ["step", "loss"])
def test_step_and_loss_are_needed(missing: str) -> None:
    held = {name: values for name, values in COLUMNS.items() if name != missing}
    with pytest.raises(ValueError, match=rf"history: no column '{missing}' among .*; pass at least 'step' and 'loss'"):
        history(held)


def test_epochs_need_their_numbers() -> None:
    with pytest.raises(ValueError, match=r"history: epochs has no column 'epoch'"):
        history(COLUMNS, {"val_loss": [1.0]})

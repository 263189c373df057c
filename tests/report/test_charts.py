"""The charts' data: nothing invented, nothing hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.run_dirs import columns, with_gaps, write_events, write_history, write_run
from thalweg.report import read_run
from thalweg.report.charts import Chart, run_charts
from thalweg.report.figures import added_charts


def charts(folder: Path) -> dict[str, Chart]:
    return {chart.title: chart for chart in run_charts(read_run(folder))}


def traces(chart: Chart) -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in chart.figure["data"]}


def test_one_chart_for_each_thing_recorded(tmp_path: Path) -> None:
    found = charts(write_run(tmp_path))
    assert list(found) == ["Loss", "Learning rate", "Momentum", "Gradient norm", "Accuracy"]
    assert list(traces(found["Loss"])) == ["raw", "smoothed", "validation"]
    assert list(traces(found["Accuracy"])) == ["validation", "training"]


def test_numbers_are_the_files_numbers(tmp_path: Path) -> None:
    found = charts(write_run(tmp_path, steps=100))
    held = columns(100, 5)
    raw = traces(found["Loss"])["raw"]
    assert raw["x"] == list(range(1, 101))
    assert raw["y"] == pytest.approx(held["loss"].tolist(), rel=1e-5)
    assert traces(found["Momentum"])["momentum"]["y"] == pytest.approx(held["momentum"].tolist(), rel=1e-5)
    assert traces(found["Loss"])["validation"]["x"] == [20, 40, 60, 80, 100]


def test_not_finite_values_are_gaps_with_marks_and_words(tmp_path: Path) -> None:
    chart = charts(write_run(tmp_path, changed=with_gaps()))["Loss"]
    raw, marks = traces(chart)["raw"], traces(chart)["not finite (41)"]
    assert raw["y"][700:740] == [None] * 40
    assert raw["y"][900] is None
    assert raw["connectgaps"] is False
    assert marks["x"] == [*range(701, 741), 901]
    assert marks["text"] == ["nan"] * 40 + ["inf"]
    (note,) = chart.notes
    assert note.startswith("41 of 1,200 values of the loss are not finite, the first at step 701 (nan); they are gaps")


def test_cells_that_were_not_recorded_are_no_gaps(tmp_path: Path) -> None:
    folder = write_run(tmp_path, steps=4)
    (folder / "history.csv").write_text("step,loss,grad_norm\n1,2,\n2,2,0.5\n3,2,\n4,2,0.25\n")
    norm = traces(charts(folder)["Gradient norm"])["gradient norm"]
    assert (norm["x"], norm["y"]) == ([2, 4], [0.5, 0.25])


def test_groups_with_different_rates_have_a_line_each(tmp_path: Path) -> None:
    rate = np.linspace(0.01, 0.001, 40)
    more = {"lr/body": rate / 10, "lr/head": rate, "momentum/body": np.full(40, 0.9), "momentum/head": np.full(40, 0.9)}
    held = {name: values for name, values in columns(40, 5).items() if name not in ("lr", "momentum")}
    folder = write_run(tmp_path, steps=40)
    write_history(folder, held | more)
    found = charts(folder)
    assert list(traces(found["Learning rate"])) == ["body", "head"]
    assert list(traces(found["Momentum"])) == ["body, head"]


def test_a_constant_rate_fills_its_chart(tmp_path: Path) -> None:
    found = charts(write_run(tmp_path, steps=20, changed={"momentum": np.full(20, 0.9)}))
    assert found["Momentum"].figure["layout"]["yaxis"]["range"] == pytest.approx([0.81, 0.99])
    assert found["Learning rate"].figure["layout"]["yaxis"] == {}


def test_long_histories_are_thinned_and_say_so(tmp_path: Path) -> None:
    steps = 60_000
    loss = columns(steps, 5)["loss"]
    loss[41_234] = 99.0
    loss[50_000:50_003] = np.nan
    chart = charts(write_run(tmp_path, steps=steps, changed={"loss": loss}))["Loss"]
    raw = traces(chart)["raw"]
    assert len(raw["x"]) <= 5000
    assert raw["y"][raw["x"].index(41_235)] == 99
    assert raw["y"][raw["x"].index(50_001)] is None
    assert chart.notes[0].startswith(
        "Drawn from 60,000 values: the lowest, the highest and the first non-finite one of"
    )


def test_a_million_steps_become_a_small_page(tmp_path: Path) -> None:
    steps = 1_000_000
    loss = np.abs(np.sin(np.arange(steps) / 1e5)) + 0.1
    loss[123_456] = 50.0
    rows = "".join(f"{step},{value:.6g}\n" for step, value in enumerate(loss.tolist(), start=1))
    (tmp_path / "history.csv").write_text("step,loss\n" + rows)
    (chart,) = run_charts(read_run(tmp_path))
    assert chart.summary.startswith("1,000,000 updates: first 0.1, ")
    assert max(value for value in chart.figure["data"][0]["y"]) == 50
    assert len(json.dumps(chart.figure)) < 200_000


@pytest.mark.parametrize("steps", [1, 2])
def test_short_runs_have_points(tmp_path: Path, steps: int) -> None:
    chart = charts(write_run(tmp_path, steps=steps, epochs=1))["Loss"]
    assert {trace["mode"] for trace in chart.figure["data"]} == {"lines+markers"}
    low, high = chart.figure["layout"]["xaxis"]["range"]
    assert low < 1 <= steps < high


def test_without_a_validation(tmp_path: Path) -> None:
    found = charts(write_run(tmp_path, valid=False))
    assert list(traces(found["Loss"])) == ["raw", "smoothed"]
    assert list(traces(found["Accuracy"])) == ["training"]


def test_without_a_history_the_epochs_show_the_losses(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    (folder / "history.csv").unlink()
    found = charts(folder)
    assert list(found) == ["Loss", "Accuracy"]
    assert list(traces(found["Loss"])) == ["training", "validation"]


def test_the_loss_axis_is_logarithmic_where_losses_span_decades(tmp_path: Path) -> None:
    flat = charts(write_run(tmp_path / "a", valid=False, changed={"loss": np.linspace(2, 1, 1200)}))["Loss"]
    steep = charts(write_run(tmp_path / "b", changed={"loss": np.logspace(1, -3, 1200)}))["Loss"]
    assert flat.figure["layout"]["yaxis"]["type"] == "linear"
    assert steep.figure["layout"]["yaxis"]["type"] == "log"


def test_events_are_marked_with_their_texts(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    write_events(folder)
    marks = traces(charts(folder)["Loss"])["events (2)"]
    assert marks["x"] == [480, 701]
    assert marks["text"][1] == "notice: the loss is not finite"


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    folder = write_run(tmp_path, steps=3)
    (folder / "history.csv").write_text("step,loss,lr/<b>body</b>,lr/head\n1,2,0.1,0.2\n2,1,0.1,0.2\n")
    assert "&lt;b&gt;body&lt;/b&gt;" in traces(charts(folder)["Learning rate"])


def test_added_figures_keep_what_they_draw_and_lose_what_the_page_decides() -> None:
    kept = {"height": 500, "xaxis": {"title": {"text": "α"}}}
    layout = {"title": "Loss plane", "template": {"layout": {}}, "width": 3000, **kept}
    figure = {"data": [{"type": "contour", "z": [[1.0, float("nan")]]}], "layout": layout}
    (chart,) = added_charts({"plane": figure})
    assert chart.title == "Loss plane"
    assert chart.figure == {"data": [{"type": "contour", "z": [[1.0, None]]}], "layout": kept}

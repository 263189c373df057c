"""Reading a run directory, whole, partial, and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.run_dirs import write_events, write_figures, write_run
from thalweg.report import read_run


def test_everything_is_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", steps=50)
    write_events(folder)
    write_figures(folder)
    run = read_run(folder)
    assert run.name == "run"
    assert (len(run.history), len(run.epochs)) == (50, 5)
    assert run.plan["total_steps"] == 50
    assert run.recipe.startswith("# An MLP")
    assert [(event.step, event.kind) for event in run.events] == [(480, "rate"), (701, "notice")]
    assert run.events[0].text == 'plateau: lr 0.01 → 0.005, after 3 epochs without "better" loss'
    assert list(run.figures) == ["plane", "race_curves"]


@pytest.mark.parametrize("name", ["history.csv", "plan.json", "recipe.toml", "epochs.csv"])
def test_one_file_is_enough(tmp_path: Path, name: str) -> None:
    whole = write_run(tmp_path / "whole", steps=10)
    part = tmp_path / "part"
    part.mkdir()
    (part / name).write_bytes((whole / name).read_bytes())
    assert read_run(part).name == "part"


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"report: the run directory .*nowhere is not there; pass the directory"):
        read_run(tmp_path / "nowhere")


def test_a_file_instead_of_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("x")
    with pytest.raises(ValueError, match=r"report.html is a file; pass the directory that `thalweg run` wrote"):
        read_run(path)


def test_a_directory_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds none of a run's files \(history.csv, .*\); pass the directory"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "plan.json",
            '{"samples": 1',
            r"report: plan.json is no JSON \(line 1, column 14: .*\); it may have been",
        ),
        ("summary.json", "[1, 2]", r"report: summary.json holds a list; it must be one JSON object"),
        ("figures/a.json", '{"data": 3}', r"report: figures/a.json is no plotly figure: it needs a list 'data'"),
        ("figures/a.json", '{"data": [], "layout": []}', r"report: figures/a.json is no plotly figure"),
        (
            "events.csv",
            "step,kind,text\nsoon,rate,x\n",
            r"report: events.csv has the step 'soon'; write a whole",
        ),
        ("history.csv", "epoch,loss\n1,2\n", r"report: history.csv has no column 'step' among epoch, loss"),
        ("epochs.csv", "step,loss\n1,2\n", r"report: epochs.csv has no column 'epoch'"),
        ("history.csv", "step,loss\n1,2\n,3\n", r"report: history.csv has no step in line 3; each row belongs to one"),
        ("history.csv", "step,loss\n1\n", r"report: history.csv: line 2 has 1 cell"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = write_run(tmp_path, steps=10)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_run(folder)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ValueError, match=r"report: recipe.toml is not UTF-8 .*; write it as UTF-8"):
        read_run(tmp_path)

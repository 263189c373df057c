"""Run directories: what they hold, that they run again to the same weights, and that they can be gone on with."""

from __future__ import annotations

import json
import os
import re
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.recipe.tiny import tiny, without_pictures
from thalweg.loop import Hook, Run
from thalweg.recipe import Recipe, RunSummary, load, resume, run

FILES = {
    *("recipe.toml", "plan.json", "environment.json", "history.csv", "epochs.csv"),
    *("summary.json", "model.safetensors", "checkpoints", "figures", "report.html"),
}


def weights(directory: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(directory) / "model.safetensors")


def assert_same_weights(one: Path | str, other: Path | str) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name


def epochs_without_seconds(directory: Path | str) -> list[str]:
    lines = (Path(directory) / "epochs.csv").read_text().splitlines()
    assert lines[0].endswith(",seconds")
    return [line.rpartition(",")[0] for line in lines]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave figures and report out, which take most of the time of a tiny run."""
    without_pictures(monkeypatch)


def test_a_run_leaves_everything_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run(tiny(metrics=["mae"]), tmp_path / "run")
    assert {entry.name for entry in (tmp_path / "run").iterdir()} == FILES
    assert {entry.name for entry in (tmp_path / "run" / "figures").iterdir()} == {"loss.png", "rates.png"}
    assert RunSummary.read(tmp_path / "run") == summary
    assert (summary.epochs, summary.steps, summary.recipe) == (2, 6, "tiny")
    assert set(summary.test) == set(summary.valid) == {"loss", "mae"}
    assert summary.best["val_loss"] <= summary.valid["loss"]
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary.to_dict()
    out = capsys.readouterr().out
    assert out.startswith(
        "tiny\ndata   linear: 96 to train, 19 to validate, 19 to test\nmodel  mlp, 49 parameters, on "
    )
    assert re.search(r"^epoch 2/2  loss .* val_mae ", out, re.MULTILINE)


@pytest.mark.usefixtures("bare")
def test_the_test_numbers_are_those_of_the_saved_weights(tmp_path: Path) -> None:
    recipe = load(tiny())
    summary = run(recipe, tmp_path / "run", verbose=False)
    learner, data = recipe.build()
    learner.load(tmp_path / "run" / "model.safetensors")
    learner.module.eval()
    x, y = data.test
    assert summary.test["loss"] == pytest.approx(float(((learner.module(x) - y) ** 2).mean().detach()), rel=1e-6)


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"name": "mlp", "norm": "batch"}, "schedule": "one_cycle", "optimizer": "sgd"},
        {"optimizer": {"name": "averaged", "rule": {"name": "adam", "lr": 0.01}}, "schedule": "constant"},
        {"optimizer": {"name": "torch.optim:Adam", "lr": 0.01}},
        {"train": {"epochs": 2, "penalty": {"name": "l2", "wd": 1e-3}, "clip_norm": 0.5, "seed": 3}},
    ],
    ids=str,
)
@pytest.mark.usefixtures("bare")
def test_the_complete_recipe_runs_again_to_the_same_weights(tmp_path: Path, sections: dict[str, Any]) -> None:
    run(tiny(**sections), tmp_path / "one", verbose=False)
    again = load(tmp_path / "one" / "recipe.toml")
    assert again == load(tiny(**sections))
    run(again, tmp_path / "two", verbose=False)
    assert_same_weights(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "one" / "history.csv").read_text() == (tmp_path / "two" / "history.csv").read_text()
    assert (tmp_path / "one" / "recipe.toml").read_text() == (tmp_path / "two" / "recipe.toml").read_text()


@pytest.mark.usefixtures("bare")
def test_another_seed_is_another_run(tmp_path: Path) -> None:
    run(tiny(), tmp_path / "one", verbose=False)
    run(tiny(), tmp_path / "two", verbose=False, overrides=["train.seed=1"])
    assert not torch.equal(weights(tmp_path / "one")["output.weight"], weights(tmp_path / "two")["output.weight"])


class Interrupt(Hook):
    """Sends this process a signal once a number of updates is made."""

    def __init__(self, step: int, number: int) -> None:
        self.step_to_stop, self.number = step, number

    def on_step_end(self, run: Run) -> None:
        if run.step == self.step_to_stop:
            os.kill(os.getpid(), self.number)


def interrupted(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGINT) -> None:
    """Let every learner that is built stop at *step*; the hook leaves nothing in the checkpoint."""
    build = Recipe.build

    def with_hook(self: Recipe, *arguments: Any) -> Any:
        learner, data = build(self, *arguments)
        begin = learner.fit

        def fit(*args: Any, **settings: Any) -> Any:
            with monkeypatch.context() as patch:
                patch.setattr("thalweg.loop.checkpoints.collect", _without(Interrupt))
                hooks = [*settings.pop("hooks", ()), Interrupt(step, number)]
                return begin(*args, hooks=hooks, **settings)

        learner.fit = fit
        return learner, data

    monkeypatch.setattr(Recipe, "build", with_hook)


def _without(kind: type[Hook]) -> Any:
    from thalweg.loop import state

    collect = state.collect

    def collected(run: Run) -> dict[str, Any]:
        hooks, run.hooks = run.hooks, [hook for hook in run.hooks if not isinstance(hook, kind)]
        try:
            return collect(run)
        finally:
            run.hooks = hooks

    return collected


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("step", [1, 4, 6, 8, 11])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    document = tiny(train={"epochs": 4, "batch_size": 16, "accumulate": 2}, metrics=["mae"])
    whole = run(document, tmp_path / "whole", verbose=False)
    with monkeypatch.context() as patch:
        interrupted(patch, step)
        with pytest.raises(KeyboardInterrupt):
            run(document, tmp_path / "stopped", verbose=False)
    assert not (tmp_path / "stopped" / "summary.json").exists()
    summary = resume(tmp_path / "stopped", verbose=False)
    assert summary.resumed_at == step
    assert (summary.test, summary.valid, summary.best) == (whole.test, whole.valid, whole.best)
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")
    assert (tmp_path / "whole" / "history.csv").read_text() == (tmp_path / "stopped" / "history.csv").read_text()
    assert epochs_without_seconds(tmp_path / "whole") == epochs_without_seconds(tmp_path / "stopped")
    left_out = {"figures", "report.html"}
    assert {entry.name for entry in (tmp_path / "stopped").iterdir()} == FILES - left_out | {"events.csv"}


@pytest.mark.usefixtures("bare")
def test_a_finished_run_gives_its_summary_again_and_changes_nothing(tmp_path: Path) -> None:
    summary = run(tiny(), tmp_path / "run", verbose=False)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    began: list[Path] = []
    assert resume(tmp_path / "run", started=began.append) == summary
    assert resume(tmp_path / "run", overrides=["train.epochs=2"], started=began.append) == summary
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    assert began == []


@pytest.mark.usefixtures("bare")
def test_a_finished_run_goes_on_for_more_epochs(tmp_path: Path) -> None:
    """A constant rate, so that two epochs and two more are four."""
    document = tiny(schedule=None)
    run(document, tmp_path / "two", verbose=False)
    summary = resume(tmp_path / "two", overrides=["train.epochs=4", "train.log_every=2"], verbose=False)
    run(document, tmp_path / "four", overrides=["train.epochs=4"], verbose=False)
    assert (summary.epochs, summary.resumed_at) == (4, 6)
    assert_same_weights(tmp_path / "two", tmp_path / "four")
    assert tomllib.loads((tmp_path / "two" / "recipe.toml").read_text())["train"]["epochs"] == 4


@pytest.mark.parametrize("stopping", [None, {"monitor": "val_loss", "patience": 1, "min_delta": 100.0}])
def test_a_run_that_ended_before_its_report_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: dict[str, Any] | None
) -> None:
    document = tiny(train={"epochs": 3, **({} if stopping is None else {"early_stopping": stopping})})
    whole = run(document, tmp_path / "whole", verbose=False)
    with monkeypatch.context() as patch:
        killed = "thalweg.recipe.closing.close"
        patch.setattr(killed, lambda *arguments, **settings: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            run(document, tmp_path / "run", verbose=False)
    assert not (tmp_path / "run" / "report.html").exists()
    summary = resume(tmp_path / "run", verbose=False)
    assert (summary.test, summary.steps, summary.stopped) == (whole.test, whole.steps, whole.stopped)
    assert_same_weights(tmp_path / "whole", tmp_path / "run")
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.usefixtures("bare")
def test_early_stopping_is_said_and_keeps_the_best_weights(tmp_path: Path) -> None:
    stopping = {"monitor": "val_loss", "patience": 2, "min_delta": 100.0}
    summary = run(tiny(train={"epochs": 9, "early_stopping": stopping}), tmp_path / "run", verbose=False)
    assert summary.epochs == 3
    assert re.match(r"val_loss has not improved on .* \(epoch 1\) for 2 epochs", summary.stopped)
    assert "stopped" in str(summary)
    once = run(tiny(train={"epochs": 9}), tmp_path / "all", verbose=False)
    assert once.stopped == ""
    assert resume(tmp_path / "run", verbose=False) == summary


@pytest.mark.parametrize(
    ("override", "match"),
    [
        (
            "optimizer.betas=[0.5, 0.9]",
            r"resume: 'optimizer.betas=.*' would change the run itself; only optimizer.lr, schedule, train.acc",
        ),
        ("train.seed=1", r"resume: 'train.seed=1' would change the run itself"),
        ("train={epochs=3}", r"would change the run itself"),
    ],
)
def test_going_on_changes_only_how_long(tmp_path: Path, override: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        resume(tmp_path, overrides=[override])


@pytest.mark.usefixtures("bare")
def test_what_is_no_run_cannot_be_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"resume .*nowhere: there is no such directory in .*; give the run"):
        resume(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no recipe.toml, so that it is no run of `thalweg run`"):
        resume(tmp_path)
    load(tiny()).save(tmp_path / "recipe.toml")
    with pytest.raises(ValueError, match=r"holds no checkpoint"):
        resume(tmp_path)
    run(tiny(), tmp_path / "run", verbose=False)
    (tmp_path / "run" / "summary.json").write_text('{"recipe": "ti')
    with pytest.raises(ValueError, match=r"summary.json: is no summary of a run .*; remove it, and resume the run"):
        resume(tmp_path / "run")


@pytest.mark.usefixtures("bare")
def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    run(tiny(), tmp_path / "run", verbose=False)
    before = weights(tmp_path / "run")
    with pytest.raises(ValueError, match=r"run directory .*run: already holds a run .*never overwritten"):
        run(tiny(), tmp_path / "run", verbose=False, overrides=["train.seed=1"])
    assert torch.equal(before["output.weight"], weights(tmp_path / "run")["output.weight"])


def test_a_recipe_in_the_directory_is_never_overwritten(tmp_path: Path) -> None:
    path = load(tiny()).save(tmp_path / "recipe.toml")
    text = path.read_text()
    with pytest.raises(ValueError, match=r"holds a recipe.toml already, which is never overwritten"):
        run(path, tmp_path, verbose=False)
    assert path.read_text() == text


@pytest.mark.usefixtures("bare")
def test_a_directory_is_named_by_recipe_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [run(tiny(name="a name/with: signs", train={"epochs": 1}), verbose=False).run for _ in range(3)]
    assert len(set(names)) == 3
    for name in names:
        assert re.fullmatch(r"runs/a-name-with-signs-\d{8}-\d{6}(-\d)?", name)


def test_a_mistake_before_the_first_step_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inputs"):
        run(tiny(model={"name": "mlp", "inputs": 7}), tmp_path / "run", verbose=False)
    with pytest.raises(ValueError, match=r"unknown metric 'rmsee'. Did you mean 'rmse'"):
        run(tiny(metrics=["rmsee"]), tmp_path / "run", verbose=False)
    with pytest.raises(ValueError, match="longer than the run"):
        run(tiny(schedule={"name": "warmup", "steps": 900}), tmp_path / "run", verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_was_there_stays_after_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inputs"):
        run(tiny(model={"name": "mlp", "inputs": 7}), tmp_path, verbose=False)
    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"run directory .*file: there is a file of that name"):
        run(tiny(), tmp_path / "file", verbose=False)
    (tmp_path / "runs").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"run directory runs/tiny-.*: runs is a file; name a directory with --out"):
        run(tiny(), verbose=False)
    monkeypatch.setattr(Path, "mkdir", _read_only)
    with pytest.raises(ValueError, match=r"run directory .*: cannot be made \(Read-only file system\); name a place"):
        run(tiny(), verbose=False)


def _read_only(*arguments: Any, **settings: Any) -> None:
    raise OSError(30, "Read-only file system")


def test_a_loss_that_explodes_is_said_and_what_was_recorded_stays(tmp_path: Path) -> None:
    document = tiny(optimizer={"name": "sgd", "lr": 1e30}, schedule=None)
    with pytest.raises(FloatingPointError, match="the loss was"):
        run(document, tmp_path / "run", verbose=False)
    assert (tmp_path / "run" / "history.csv").exists()
    assert (tmp_path / "run" / "recipe.toml").exists()


@pytest.mark.usefixtures("bare")
def test_data_without_validation_and_test_run_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train_alone.py").write_text(
        "import torch\ndef make():\n    x = torch.randn(32, 4)\n    return (x, x[:, :1]), None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    summary = run(tiny(data="train_alone:make"), tmp_path / "run", verbose=False)
    assert (summary.test, summary.valid, summary.best) == ({}, {}, {})
    assert RunSummary.read(tmp_path / "run") == summary
    assert str(summary).startswith("time")


def test_the_summary_reads_well() -> None:
    summary = RunSummary(
        recipe="digits",
        run="runs/a",
        test={"loss": 0.12345, "accuracy": 0.98},
        valid={"loss": 0.2, "accuracy": 0.9},
        best={"epoch": 3, "val_loss": 0.1, "val_accuracy": 0.91},
        loss=0.01,
        epochs=1,
        steps=1234,
        seconds=83.0,
        parameters=10,
        resumed_at=1000,
    )
    assert str(summary).splitlines() == [
        "test           accuracy 0.9800, loss 0.1235",
        "validation     accuracy 0.9000, loss 0.2000",
        "best, epoch 3  accuracy 0.9100, loss 0.1000",
        "time           1 min 23 s, since step 1,000; 1,234 updates in 1 epoch",
        f"report         {Path('runs/a/report.html')}",
        f"again          thalweg run {Path('runs/a/recipe.toml')}",
    ]


def test_a_change_of_a_finished_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)
    run(load(tiny()), tmp_path / "run", verbose=False)
    with pytest.raises(ValueError, match=r"has finished its 2 epochs, so that optimizer\.lr=0\.5 would change nothing"):
        resume(tmp_path / "run", overrides=["optimizer.lr=0.5"], verbose=False)

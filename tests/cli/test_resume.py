"""``thalweg run --resume`` as a user meets it: of what cannot be gone on with, and of runs that are to change."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended
from thalweg.checkpoint import RunLock
from thalweg.loop import Hook

Thalweg = Callable[..., Ended]
pytestmark = pytest.mark.usefixtures("bare")
MODULE = sys.modules["thalweg.recipe.run"]  # the package's attribute of that name is the function


@pytest.fixture
def stopped(thalweg: Thalweg, recipe: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run of four epochs that Ctrl-C ended within the second one."""

    class Interrupt(Hook):
        def on_step_end(self, run: object) -> None:
            if run.step == 5:  # type: ignore[attr-defined]
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "_hooks", lambda data, verbose: [Interrupt()])
        ended = thalweg("run", recipe, "--out", "here", "train.epochs=4", "train.checkpoint_every=1 steps")
    assert ended.status == 130
    return "here"


@pytest.fixture(autouse=True)
def same_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is gone on with has the hooks that it began with."""

    class Interrupt(Hook):
        pass

    monkeypatch.setattr(MODULE, "_hooks", lambda data, verbose: [Interrupt()])


def contents(run: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(run).rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (
            ["other.toml"],
            r"^resume here: the run is one of another recipe: model.hidden is \[9\] in the recipe and \[8\]",
        ),
        (["other.toml"], r"optimizer.lr is 0.02 in the recipe and 0.01 in the run. Leave the recipe out to go on with"),
        (
            ["optimizer=sgd"],
            r"^resume: 'optimizer=sgd' would change the run itself; only optimizer.lr, schedule, train",
        ),
        (["model.hidden=[9]"], r"^resume: 'model.hidden=\[9\]' would change the run itself"),
        (["train.epochs=1"], r"^resume here: the run has finished its 1 epochs and epochs=1 were asked for in all"),
        (["train.epochs=0"], r"epochs=0"),
        (["train.batch_size=0"], r"batch_size=0"),
        (["optimizer.lr=-1"], r"lr=-1"),
    ],
)
def test_what_is_refused_changes_nothing(
    thalweg: Thalweg, stopped: str, tmp_path: Path, words: list[str], match: str
) -> None:
    text = (tmp_path / "tiny.toml").read_text().replace("lr = 0.01", "lr = 0.02").replace("[8]", "[9]")
    (tmp_path / "other.toml").write_text(text)
    before = contents(stopped)
    ended = thalweg("run", *words, "--resume", stopped)
    assert ended.status == 2
    assert re.search(match, " ".join(ended.err.split())), ended.err
    assert contents(stopped) == before


@pytest.mark.parametrize(
    ("override", "told", "again"),
    [
        ("optimizer.lr=0.5", "lr: 0.5, was 0.01", "lr = 0.5"),
        ("train.batch_size=24", "batch_size: 24, was 16", "batch_size = 24"),
        ("train.accumulate=1", "accumulate: 1, was 2", "accumulate = 1"),
        ("schedule=constant", "schedule: constant, was lr Warmup(steps=1)", 'name = "constant"'),
        ("train.epochs=6", "", "epochs = 6"),
    ],
)
@pytest.mark.filterwarnings("default::UserWarning")
def test_what_may_change_is_told_and_stands_in_events_and_recipe(
    thalweg: Thalweg, stopped: str, override: str, told: str, again: str
) -> None:
    ended = thalweg("run", "--resume", stopped, override)
    assert ended.status == 0, ended.err
    if told:
        assert f"note: resume at step 4: {told}" in ended.err
    else:
        assert "resume at step 4: epochs: 6 in all, were 4" in ended.out
    events = (Path(stopped) / "events.csv").read_text()
    assert f'4,"changed on resume","{told or "epochs: 6 in all, were 4"}' in events
    assert again in (Path(stopped) / "recipe.toml").read_text()


def test_a_finished_run_that_is_refused_keeps_its_results(thalweg: Thalweg, recipe: str) -> None:
    assert thalweg("run", recipe, "--out", "done", "-q").status == 0
    before = contents("done")
    for words in (["optimizer.lr=0.5"], [], ["train.epochs=1", "train.batch_size=8"]):
        assert thalweg("run", "--resume", "done", *words).status == 2
        assert contents("done") == before


def test_empty_and_foreign_directories_are_told_apart(thalweg: Thalweg, recipe: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = thalweg("run", "--resume", "empty")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("resume empty: holds no recipe.toml, so that it is no run of `thalweg run`")
    (tmp_path / "empty" / "recipe.toml").write_text((tmp_path / recipe).read_text())
    assert thalweg("run", "--resume", "empty").err.startswith("resume: empty holds no checkpoint; give a run directory")
    assert thalweg("run", "--resume", recipe).err.startswith(f"resume {recipe}: there is no such directory")
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["recipe.toml"]


def test_a_run_in_progress_is_left_alone(thalweg: Thalweg, stopped: str) -> None:
    lock = RunLock(Path(stopped))
    before = contents(stopped)
    ended = thalweg("run", "--resume", stopped, "train.epochs=9")
    assert ended.status == 2
    assert ended.err.startswith(f"run directory here: is in use by process {os.getpid()} on ")
    assert contents(stopped) == before
    lock.release()
    assert thalweg("run", "--resume", stopped).status == 0


@pytest.mark.skipif(os.getuid() == 0 and shutil.which("setpriv") is None, reason="root may write anywhere")
def test_a_read_only_directory_is_said_to_be_one(stopped: str, tmp_path: Path) -> None:
    before = contents(stopped)
    for path in (tmp_path / stopped, *(tmp_path / stopped).rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    words = [sys.executable, "-m", "thalweg", "run", "--resume", stopped]
    if os.getuid() == 0:  # without the capability by which root is above such things
        words = ["setpriv", "--bounding-set=-dac_override", *words]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    (tmp_path / stopped).chmod(0o755)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert ended.stderr.startswith("run directory here: is read-only, or its lock is no file (Permission denied); get")
    assert contents(stopped) == before

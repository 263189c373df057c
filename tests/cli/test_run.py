"""``thalweg run`` as a user meets it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended
from thalweg.report import read_run

Thalweg = Callable[..., Ended]
bare = pytest.mark.usefixtures("bare")


def test_a_run_is_shown_from_its_recipe_to_its_report(thalweg: Thalweg, recipe: str, tmp_path: Path) -> None:
    ended = thalweg("run", recipe, "train.epochs=3", "optimizer=sgd")
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert lines[:2] == ["tiny", "data   linear: 96 to train, 19 to validate, 19 to test"]
    (directory,) = (tmp_path / "runs").iterdir()
    assert lines[4] == f"run    runs/{directory.name}"
    assert [line.split("  ")[0] for line in lines if line.startswith("epoch")] == [
        "epoch 1/3",
        "epoch 2/3",
        "epoch 3/3",
    ]
    assert any(re.fullmatch(r"test +loss \d+\.\d{4}", line) for line in lines)
    assert lines[-1].split() == ["again", "thalweg", "run", f"runs/{directory.name}/recipe.toml"]
    assert max(map(len, lines)) <= 100
    assert ended.err.startswith("optimizer=sgd: lr = 0.01, ")
    assert tomllib.loads((directory / "recipe.toml").read_text())["optimizer"]["name"] == "sgd"
    assert (directory / "report.html").stat().st_size > 100_000


@bare
def test_the_summary_is_one_json_object_and_nothing_else(thalweg: Thalweg, recipe: str) -> None:
    ended = thalweg("run", recipe, "--json", "--out", "here")
    assert ended.status == 0
    summary = json.loads(ended.out)
    assert (summary["run"], summary["epochs"], summary["recipe"]) == ("here", 2, "tiny")
    assert {"test_loss", "val_loss", "loss", "best", "steps", "seconds", "parameters"} <= summary.keys()
    assert "epoch 2/2" in ended.err
    assert read_run("here").summary == summary


@bare
def test_quiet_names_the_directory_alone(thalweg: Thalweg, recipe: str) -> None:
    assert thalweg("run", recipe, "--quiet", "-o", "here") == Ended(0, "here\n", "")
    assert thalweg("run", recipe, "--quiet", "--json", "-o", "there").err == ""


@bare
def test_a_finished_run_says_so(thalweg: Thalweg, recipe: str) -> None:
    first = thalweg("run", recipe, "--out", "here", "--json")
    for how in ((), ("--json",), ("--quiet",)):
        ended = thalweg("run", "--resume", "here", *how)
        assert ended.status == 2
        assert ended.out == ""
        assert (
            "run: --resume here: the run has finished its 2 epochs, and nothing is left to go on with; for more: "
            "thalweg run --resume here train.epochs=N. What it came to: thalweg report here"
        ) in " ".join(ended.err.split())
    assert read_run("here").summary == json.loads(first.out)
    longer = thalweg("run", "--resume", "here", "train.epochs=3")
    assert "run    here, from step 6 on" in longer.out
    assert "epoch 3/3" in longer.out


@bare
def test_a_module_in_the_present_folder_is_found(thalweg: Thalweg, recipe: str, tmp_path: Path) -> None:
    (tmp_path / "nets_of_mine.py").write_text(
        "import torch\nclass Net(torch.nn.Linear):\n    def __init__(self): super().__init__(4, 1)\n"
    )
    ended = thalweg("run", recipe, "model=nets_of_mine:Net", "--json")
    assert ended.status == 0
    assert json.loads(ended.out)["parameters"] == 5


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["digts"], r"^recipe 'digts': there is no such file in .* Did you mean 'digits'\?"),
        (
            ["tiny.toml", "optimizer.lrr=1"],
            r"^tiny.toml \[optimizer\] \(with optimizer.lrr=1\): unknown key 'lrr'. Did y",
        ),
        (["tiny.toml", "lr=1"], r"^override 'lr=1': unknown section 'lr'. Did you mean optimizer.lr\?"),
        (["tiny.toml", "data.n=0"], r"^tiny.toml.* rows|n=0"),
        (["tiny.toml", "digits"], r"^'tiny.toml' and 'digits' are 2 recipes, and one is taken; write overrides as"),
        (["tiny.toml", "model.inputs=3"], r"MLP cannot take the data: a batch's inputs are \(\(\d+, 4\) float32\)"),
        (["tiny.toml", "loss=cross_entropy"], r"CrossEntropy"),
        (
            ["tiny.toml", "data=mnist", "data.root=nowhere"],
            r"there is no train-images-idx3-ubyte .*run `thalweg data mn",
        ),
        (["tiny.toml", "train.device=cuda:99"], r"cuda"),
        (["tiny.toml", "--resume", "here"], r"^resume here: there is no such directory"),
        (["--resume", "here", "--out", "there"], r"leave --out out"),
        (["--resume", "nowhere"], r"^resume nowhere: there is no such directory"),
        (["--rezume", "here"], r"No such option: --rezume"),
    ],
)
@bare
def test_a_mistake_is_one_message(thalweg: Thalweg, recipe: str, tmp_path: Path, words: list[str], match: str) -> None:
    ended = thalweg("run", *words)
    assert ended.status == 2
    assert ended.out == ""
    assert re.search(match, ended.err, re.MULTILINE), ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


@bare
def test_a_run_is_never_overwritten(thalweg: Thalweg, recipe: str) -> None:
    assert thalweg("run", recipe, "--out", "here", "-q").status == 0
    ended = thalweg("run", recipe, "--out", "here")
    assert ended.status == 2
    assert re.match(r"run directory here: already holds a run .*never overwritten", ended.err)


@bare
def test_a_loss_that_explodes_is_one_message_and_a_way_on(thalweg: Thalweg, recipe: str) -> None:
    ended = thalweg("run", recipe, "optimizer=sgd", "optimizer.lr=1e30", "schedule=constant", "--out", "here")
    assert ended.status == 2
    assert re.search(r"fit: the loss was (inf|nan) at step ", ended.err)
    assert ended.err.endswith("What was recorded is in here; look at it with: thalweg report here\n")
    assert thalweg("report", "here") == Ended(0, "here/report.html\n", "")


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_warning_is_a_note_said_once(thalweg: Thalweg, recipe: str, tmp_path: Path) -> None:
    (tmp_path / "soft_nets.py").write_text(
        "import torch\nclass Net(torch.nn.Sequential):\n    def __init__(self, inputs, outputs):\n"
        "        super().__init__(torch.nn.Linear(inputs, outputs), torch.nn.Softmax(1))\n"
        "def make():\n    part = torch.randn(32, 4), torch.arange(32) % 3\n    return part, part\n"
    )
    own = [
        "model=soft_nets:Net",
        "model.inputs=auto",
        "model.outputs=auto",
        "data=soft_nets:make",
        "loss=cross_entropy",
    ]
    ended = thalweg("run", recipe, *own)
    assert ended.status == 0
    (line,) = [line for line in ended.err.splitlines() if "softmax" in line]
    assert line.startswith("note: CrossEntropy: every row of the output is non-negative and sums to 1")


def test_a_mistake_in_the_users_module_keeps_its_traceback(thalweg: Thalweg, recipe: str, tmp_path: Path) -> None:
    (tmp_path / "broken_nets.py").write_text("def net():\n    raise ValueError('my own mistake')\n")
    with pytest.raises(ValueError, match="my own mistake"):
        thalweg("run", recipe, "model=broken_nets:net")

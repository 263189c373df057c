"""A race of a recipe: its winner is a recipe that runs to what the race has seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import thalweg.recipe as recipes
from tests.recipe.tiny import tiny
from thalweg.cli.race import values_of
from thalweg.recipe import candidates_of, load


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_the_winner_runs_to_the_same_loss(dropout: float, tmp_path: Path) -> None:
    document = {
        "model": {"name": "mlp", "hidden": [8], "dropout": dropout},
        "data": {"name": "digits"},
        "loss": {"name": "cross_entropy", "label_smoothing": 0.05},
        "optimizer": {"name": "adam", "lr": 0.01},
        "schedule": {"name": "cosine"},
        "train": {"epochs": 2, "clip_norm": 1.0, "seed": 5, "device": "cpu"},
    }
    result, winner, folder = recipes.race(
        document, None, tmp_path / "race", optimizers=["sgd", "adam"], seeds=2, hyper={"lr": [0.01, 0.1]}, verbose=False
    )
    assert [member.candidate.seed for member in result.members[:2]] == [5, 6]
    assert (winner.optimizer["name"], winner.train.seed) == (result.winner.settings()["optimizer"], 5)
    assert winner.train.dropout == ("counter" if dropout else "torch")
    member = result.members[result.best.numbers[0]]
    again = recipes.run(load(folder / "winner.toml"), tmp_path / "run", verbose=False)
    assert again.valid["loss"] == pytest.approx(member.validations[-1][1], rel=1e-5)
    written = json.loads((folder / "race.json").read_text())
    assert written["leaderboard"][0]["verdict"] == "best"
    assert "Sensitivity to the rate" in (folder / "report.html").read_text()


def test_variants_keep_the_recipes_schedule_clipping_and_own_rule() -> None:
    recipe = load(tiny(optimizer={"name": "sgd", "lr": 0.3, "momentum": 0.9}, train={"epochs": 1, "clip_norm": 2.0}))
    field = candidates_of(recipe, ["sgd", "lion"], lr=[0.1], seeds=2)
    assert [str(candidate.rule.lr) for candidate in field] == ["0.1"] * 4
    assert field[0].rule.momentum == 0.9
    assert {candidate.clip_norm for candidate in field} == {2.0}
    with pytest.raises(ValueError, match="seeds=0 leaves nobody to race"):
        candidates_of(recipe, seeds=0)
    with pytest.raises(ValueError, match="is none of Thalweg's rules"):
        candidates_of(load(tiny(optimizer={"name": "torch.optim:SGD", "lr": 0.1})))


def test_accumulation_does_not_race(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[train\]: accumulate = 2 does not race"):
        recipes.race(load(tiny(train={"epochs": 1, "accumulate": 2})), out=tmp_path / "race", verbose=False)
    assert not (tmp_path / "race").exists()


def test_values_on_the_command_line() -> None:
    assert values_of("lr", "1e-5..1e-1:5") == [1e-05, 0.0001, 0.001, 0.01, 0.1]
    assert len(values_of("lr", "1e-5..1e-1")) == 10
    assert values_of("weight-decay", "0..0.2:3,0.5") == [0.0, 0.1, 0.2, 0.5]
    for text in ("0.1:3", "a", "1..b:2"):
        with pytest.raises(ValueError, match=r"is neither a number nor a range LOW\.\.HIGH:COUNT"):
            values_of("lr", text)
    with pytest.raises(ValueError, match="runs backwards"):
        values_of("lr", "1e-1..1e-5:3")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from thalweg.cli import main

    monkeypatch.chdir(tmp_path)
    words = ["race", "digits", "train.epochs=1", "model.hidden=[8]", "--optimizer", "sgd,adamw", "--lr", "1e-2..1e-1:2"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--weight-decay", "0,0.1", "--out", "here"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "8 trainings of up to" in printed
    assert "thalweg run here/winner.toml" in printed
    with pytest.raises(SystemExit) as ended:
        main(["race", "digits", "--lr", "1..0.1:3"])
    assert ended.value.code == 2
    assert "runs backwards" in capsys.readouterr().err
    assert torch.is_grad_enabled()

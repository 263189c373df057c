"""What the words of a command line do to a recipe."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.recipe.tiny import tiny
from thalweg.recipe import load
from thalweg.recipe.overrides import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("3e-4", 3e-4),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.5e3", -500.0),
        ("true", True),
        ("inf", math.inf),
        ("adamw", "adamw"),
        ('"adamw"', "adamw"),
        ("5%", "5%"),
        ("500 steps", "500 steps"),
        ("package.module:Net", "package.module:Net"),
        ("[64, 32]", [64, 32]),
        ("{name = 'l2', wd = 1e-5}", {"name": "l2", "wd": 1e-5}),
        ("a=b", "a=b"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_values_are_toml_and_bare_words_are_texts(text: str, value: Any) -> None:
    keys, found = parse(f"section.key={text}")
    assert keys == ["section", "key"]
    assert found == value
    assert type(found) is type(value)


def test_a_value_is_put_in_its_place() -> None:
    overrides = ["optimizer.lr=3e-4", "model.hidden=[16, 4]", "schedule.parts.0.steps=3", "train.penalty.wd=2e-5"]
    recipe = load(tiny(train={"penalty": {"name": "l2", "wd": 1e-5}}), overrides)
    assert recipe.optimizer["lr"] == 3e-4
    assert recipe.model["hidden"] == [16, 4]
    assert recipe.schedule["parts"][0]["steps"] == 3
    assert recipe.train.penalty == {"name": "l2", "wd": 2e-5}
    assert recipe.notes == ()


def test_a_new_name_keeps_the_settings_it_has_and_drops_the_rest_saying_so() -> None:
    recipe = load(tiny(optimizer={"name": "adam", "lr": 0.02, "weight_decay": 0.1, "eps": 1e-6}), ["optimizer=sgd"])
    assert recipe.optimizer["name"] == "sgd"
    assert (recipe.optimizer["lr"], recipe.optimizer["weight_decay"]) == (0.02, 0.1)
    assert "eps" not in recipe.optimizer
    assert recipe.notes == ("optimizer=sgd: lr = 0.02 and weight_decay = 0.1 are kept; eps is dropped, sgd has none.",)


def test_a_new_name_by_its_key_or_in_another_spelling_is_the_same() -> None:
    assert load(tiny(), ["optimizer.name=sgd"]) == load(tiny(), ["optimizer=SGD"])
    assert load(tiny(), ["optimizer=adam"]) == load(tiny())
    assert load(tiny(), ["optimizer=adam"]).notes == ()


def test_a_table_replaces_the_section() -> None:
    recipe = load(tiny(), ['optimizer={name = "sgd", momentum = 0.9}'])
    assert recipe.optimizer["momentum"] == 0.9
    assert recipe.optimizer["lr"] != 0.01


def test_another_model_drops_what_it_has_not() -> None:
    recipe = load(tiny(), ["model=linear"])
    assert recipe.model == {"name": "linear", "inputs": "auto", "outputs": "auto", "bias": True}
    assert recipe.notes == ("model=linear: hidden and dropout are dropped, linear has none.",)


def test_a_file_takes_the_place_of_a_named_data_set(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load(tiny(), ["data.path=table.csv", "data.target=y"])
    assert recipe.data["path"] == str(tmp_path / "table.csv")
    assert "name" not in recipe.data
    assert "n" not in recipe.data


def test_name_and_description_hold_no_longer_than_they_are_true() -> None:
    document = tiny(description="a line of points")
    assert load(document, ["train.epochs=3", "data.n=50"]).description == "a line of points"
    for override, name in (("optimizer=sgd", "tiny"), ("data=nonlinear", "nonlinear")):
        recipe = load(document, [override])
        assert (recipe.name, recipe.description) == (name, "")
    recipe = load(document, ["data.path=a/houses.csv", "data.target=price", "description=mine"])
    assert (recipe.name, recipe.description) == ("houses", "mine")
    assert load(document, ["data=nonlinear", "name=other"]).name == "other"


def test_metrics_may_be_separated_by_commas() -> None:
    assert load(tiny(), ["metrics=mae,r2"]).metrics == {"names": ["mae", "r2"]}
    assert load(tiny(), ['metrics=["mae"]']).metrics == {"names": ["mae"]}


def test_a_schedule_of_the_momentum_joins_that_of_the_rate() -> None:
    recipe = load(tiny(), ["schedule=cosine", "schedule.momentum=constant", "schedule.lr.eta_min=1e-5"])
    assert set(recipe.schedule) == {"lr", "momentum"}
    assert recipe.schedule["lr"]["eta_min"] == 1e-5
    assert recipe.schedule["momentum"]["name"] == "constant"


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("optimizer.lr", r"override 'optimizer.lr': is not of the form key=value; write for example optimizer.lr=3e-4"),
        ("=3", r"is not of the form key=value"),
        ("optimizer..lr=3", r"is not of the form key=value"),
        ("optimiser.lr=1", r"unknown section 'optimiser'. Did you mean 'optimizer'\?"),
        ("lr=1e-3", r"override 'lr=1e-3': unknown section 'lr'. Did you mean optimizer.lr\?"),
        ("epochs=3", r"unknown section 'epochs'. Did you mean train.epochs\?"),
        ("optimizer=sgdd", r"override 'optimizer=sgdd': unknown optimizer 'sgdd'. Did you mean 'sgd'\?"),
        ("data=table.csv", r"'table.csv' looks like a file, and a file is given by path = 'table.csv' and target ="),
        ("schedule.parts.7.steps=1", r"schedule.parts is a list of 2, and '7' is none of its places; count from 0"),
        ("schedule.parts.first.steps=1", r"'first' is none of its places"),
        ("optimizer.lr.x=1", r"optimizer.lr = 0.01 is no table, so that it has no 'x'"),
    ],
)
def test_an_override_that_cannot_be_placed_is_refused(override: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        load(tiny(), [override])

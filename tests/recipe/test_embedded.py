"""The recipes that come with the package: each loads, and reaches what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from thalweg.data import is_obtained
from thalweg.recipe import RunSummary, embedded, load, run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", embedded())
def test_an_embedded_recipe_loads_and_says_what_it_is(name: str) -> None:
    recipe = load(name)
    assert recipe.name == name
    assert 20 < len(recipe.description) < 100
    assert recipe.metrics["names"] or name == "movielens"  # whose loss is the squared error that is reported
    assert load(recipe.to_dict()) == recipe


@pytest.mark.slow
def test_digits_reaches_96_percent_on_the_test_part(tmp_path: Path) -> None:
    summary = run("digits", tmp_path / "run", verbose=False)
    assert summary.test["accuracy"] >= 0.96


def real(name: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> RunSummary:
    """Run a recipe on data that `make data` obtains, or skip."""
    recipe = load(name)
    folder = ROOT / "data"
    if not is_obtained(recipe.data["name"], folder):
        pytest.skip(f"{recipe.data['name']} is not in {folder}; `make data` obtains it")
    monkeypatch.setenv("THALWEG_DATA", str(folder))
    return run(recipe, out, verbose=False)


@pytest.mark.real
@pytest.mark.slow
def test_the_mlp_reaches_97_percent_on_the_test_set_of_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = real("mnist-mlp", tmp_path / "run", monkeypatch)
    assert (summary.epochs, summary.parameters) == (5, 784 * 50 + 50 + 50 * 10 + 10)
    assert summary.test["accuracy"] >= 0.970


@pytest.mark.real
@pytest.mark.slow
def test_logistic_regression_reaches_92_percent_on_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = real("mnist-logistic", tmp_path / "run", monkeypatch)
    assert summary.parameters == 784 * 10 + 10
    assert summary.test["accuracy"] >= 0.92


@pytest.mark.real
@pytest.mark.slow
def test_the_convnet_reaches_89_percent_on_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = real("fashion-convnet", tmp_path / "run", monkeypatch)
    assert summary.test["accuracy"] >= 0.89


def test_the_recipes_on_mnist_are_what_they_are_named_for() -> None:
    logistic, mlp = load("mnist-logistic"), load("mnist-mlp")
    assert (logistic.model["name"], logistic.optimizer["name"]) == ("linear", "sgd")
    assert logistic.train.penalty == {"name": "l2", "wd": 1e-5}
    assert (mlp.model["hidden"], mlp.model["activation"], mlp.optimizer["name"]) == ([50], "relu", "adam")
    assert [part["name"] for part in mlp.schedule["parts"]] == ["warmup", "cosine"]

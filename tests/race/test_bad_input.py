"""What cannot work is refused in words, before the first update."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import thalweg as tw
from tests.race.problems import classes, mlp, rows
from thalweg.race import Candidate, Halving, grid, log

GOOD = grid("sgd", lr=[0.01, 0.1])


class OwnWeights(nn.Module):
    """Weights that nobody can draw anew."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


def growing() -> Any:
    widths = iter(range(3, 99))
    return lambda: nn.Sequential(nn.Linear(6, width := next(widths)), nn.Linear(width, 1)).double()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"candidates": []}, r"the list of candidates is empty"),
        ({"candidates": [GOOD[0], GOOD[1], GOOD[0]]}, r"candidates 0 and 2 are the same \(sgd lr=0.01 seed=0\)"),
        ({"steps": 0}, r"steps=0 is a budget too small for one rung"),
        ({"steps": 2, "halving": Halving(3, rungs=4)}, r"4 rungs by a factor of 3 within 2 updates are too many"),
        ({"steps": 2, "halving": 3, "candidates": grid("sgd", lr=log(1e-3, 1.0, 9))}, r"2 updates are too few"),
        ({"epochs": 1, "steps": 3}, r"epochs=1 and steps=3 are several budgets"),
        ({"minutes": 1e-9}, r"minutes are a budget too small for one rung"),
        ({"stacking": "alway"}, r"unknown stacking 'alway'. Did you mean 'always'\?"),
        ({"step": "fast"}, r"unknown step 'fast'"),
        ({"rank": "valid", "valid": None}, r"rank='valid' needs validation data"),
        ({"model": OwnWeights().double()}, r"the model \(OwnWeights\) has weights of its own"),
        ({"model": growing()}, r"members must have one shape, but with seed 0 '0.weight' is \(4, 6\)"),
        ({"model": nn.Linear(5, 1).double()}, r"Linear cannot take the data"),
        ({"model": nn.ReLU()}, r"ReLU has no parameters"),
        ({"candidates": [Candidate("sgd", label_smoothing=0.1)]}, r"asks for label smoothing, which MSE has not"),
        ({"candidates": [Candidate("sgd", {"momentum": "cosine", "weight_decay": "cosine"}), Candidate("lion")],
          "model": mlp()}, None),
        ({"candidates": [Candidate(tw.optim.Adafactor(lr=None), "cosine")]}, r"'lr' was to be scheduled"),
        ({"data": rows()[0]}, r"the data have no targets"),
    ],
)  # fmt: skip
def test_a_race(change: dict[str, Any], said: str | None) -> None:
    given: dict[str, Any] = {
        "model": mlp(),
        "data": rows(),
        "valid": rows(seed=1),
        "candidates": GOOD,
        "verbose": False,
    }
    if said is None:
        tw.race(**{**given, **change})
        return
    with pytest.raises((ValueError, TypeError), match=said):
        tw.race(**{**given, **change})


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match="candidate 0 is a str"):
        tw.race(mlp(), rows(), None, ["sgd"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"model='mlp' is a str; pass a Module"):
        tw.race("mlp", rows(), None, GOOD)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="seed='a' must be a whole number"):
        Candidate("sgd", seed="a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: grid("sgd", seeds=0), r"seeds=0 leaves nobody to race"),
        (lambda: grid("sgd", seeds=[1, 1]), r"names a seed twice"),
        (lambda: grid("sgd", seeds=[]), r"seeds=\[\] is no list of whole numbers"),
        (lambda: grid("sgd", lr=[]), r"an empty list of values"),
        (lambda: grid(["sgd", "adam"], momentum=[0.0, 0.9]), r"adam has no hyperparameter 'momentum'"),
        (lambda: grid("adam", beta=0.9), r"adam has no hyperparameter 'beta'. Did you mean 'betas'\?"),
        (lambda: grid("adamm"), r"unknown optimizer 'adamm'. Did you mean 'adam'\?"),
        (lambda: grid("sgd", order="mine"), r"order='mine' must be 'shared' or 'own'"),
        (lambda: log(1e-1, 1e-5, 3), r"the range 0.1 … 1e-05 runs backwards"),
        (lambda: log(0.0, 1.0, 3), r"low=0.0 must be > 0"),
        (lambda: tw.race.linear(1.0, 0.0, 2), r"runs backwards"),
        (lambda: tw.race.linear(1.0, 1.0, 2), r"are all the same"),
        (lambda: log(1e-3, 1e-1, 0), r"0 values were asked for"),
        (lambda: Candidate("sgd", clip_norm=0.0), r"clip_norm=0.0 must be > 0"),
        (lambda: Candidate("sgd", label_smoothing=2.0), r"label_smoothing=2.0 must be >= 0 and <= 1"),
        (lambda: Candidate("sgd", tw.schedule.ReduceOnPlateau()), r"waits for an epoch's metric"),
        (lambda: Candidate({"name": "sgd", "lr": -1.0}), r"lr=-1.0 must be >= 0"),
        (lambda: Halving(1.0), r"factor=1.0 must be > 1"),
        (lambda: Halving(3, rungs=1), r"rungs=1 must be >= 2"),
    ],
)
def test_candidates(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_own_orders_need_rows() -> None:
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*classes()), batch_size=8)
    with pytest.raises(ValueError, match="a loader draws its own"):
        tw.race(mlp(3), loader, None, [Candidate("sgd", order=1)], loss="cross_entropy", verbose=False)

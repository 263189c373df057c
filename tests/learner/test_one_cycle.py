"""fit_one_cycle against torch's OneCycleLR, its names, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw

X = torch.randn(160, 4, generator=torch.Generator().manual_seed(1))
Y = X.sum(1, keepdim=True)
QUIET: dict[str, Any] = {"batch_size": 16, "verbose": False}


def learner(optimizer: Any = "adam") -> tw.Learner:
    torch.manual_seed(0)
    return tw.Learner(nn.Linear(4, 1), optimizer, "mse", lr=0.01, device="cpu", seed=0)


def test_the_curves_are_those_of_the_formula() -> None:
    history = learner().fit_one_cycle((X, Y), 4, 0.1, div=10, div_final=100, pct_start=0.25, **QUIET)
    t = np.arange(40)
    rise, fall = t / 10, (t - 10) / 30

    def way(a: float, b: float, p: np.ndarray) -> np.ndarray:
        return b + (a - b) * (1 + np.cos(np.pi * p)) / 2

    assert np.allclose(history["lr"], np.where(t <= 10, way(0.01, 0.1, rise), way(0.1, 0.001, fall)), rtol=1e-12)
    assert np.allclose(history["momentum"], np.where(t <= 10, way(0.95, 0.85, rise), way(0.85, 0.95, fall)), rtol=1e-12)


def test_fastai_names_mean_the_same() -> None:
    ours = learner().fit_one_cycle((X, Y), epochs=2, lr=0.1, **QUIET)
    theirs = learner().fit_one_cycle((X, Y), n_epoch=2, lr_max=0.1, **QUIET)
    assert np.array_equal(ours["loss"], theirs["loss"])


def test_without_a_rate_the_learner_has_its_own() -> None:
    assert learner().fit_one_cycle((X, Y), 2, **QUIET)["lr"].max() == pytest.approx(0.01)


def test_plain_sgd_stays_without_momentum() -> None:
    assert not learner("sgd").fit_one_cycle((X, Y), 2, **QUIET)["momentum"].any()
    with_momentum = tw.optim.SGD(lr=0.01, momentum=0.9)
    one = tw.Learner(nn.Linear(4, 1), with_momentum, "mse", device="cpu", seed=0)
    assert one.fit_one_cycle((X, Y), 2, **QUIET)["momentum"].max() == pytest.approx(0.95)


def test_a_slice_is_cycled_in_every_group() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1))
    one = tw.Learner(model, "adam", "mse", device="cpu", seed=0)
    history = one.fit_one_cycle((X, Y), 2, slice(1e-4, 1e-2), **QUIET)
    assert np.allclose(history["lr/head"], 100 * history["lr/lower"], rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"pct_start": 0.0}, ValueError, r"fit_one_cycle: pct_start=0.0 must be > 0 and < 1"),
        ({"pct_start": 1.0}, ValueError, r"pct_start=1.0 must be > 0 and < 1"),
        ({"div": 0.5}, ValueError, r"div=0.5 must be >= 1"),
        ({"lr": 0.1, "lr_max": 0.2}, ValueError, "lr and lr_max are two names of one setting"),
        ({"epochs": 2, "n_epoch": 2}, ValueError, "epochs and n_epoch are two names of one setting"),
        ({"schedule": "cosine"}, ValueError, "the schedule is the one cycle"),
        ({"epochs": Y}, TypeError, r"epochs is a Tensor, not a whole number; give inputs and targets as one"),
        ({"lr": -0.1}, ValueError, r"lr=-0.1 must be >= 0"),
        ({"lr": "auto"}, ValueError, r"'auto' is no rate; give a number"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        learner().fit_one_cycle((X, Y), **settings)

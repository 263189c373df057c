"""The finder through a learner: what it finds, verifies, refuses, shows and stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.find import Finding, Trial, rate_range
from thalweg.find.sweep import rates_of
from thalweg.find.verify import lattice, most_updates, nearest

GENERATOR = torch.Generator().manual_seed(1)
X = torch.randn(512, 6, generator=GENERATOR)
Y = X @ torch.arange(1.0, 7.0)[:, None] + 0.1 * torch.randn(512, 1, generator=GENERATOR)


def learner(optimizer: Any = "sgd", model: nn.Module | None = None, **settings: Any) -> tw.Learner:
    torch.manual_seed(0)
    return tw.Learner(
        model or nn.Linear(6, 1), optimizer, settings.pop("loss", "mse"), device="cpu", seed=0, **settings
    )


@pytest.mark.parametrize(("optimizer", "low", "high"), [("sgd", 0.02, 0.5), ("adam", 0.1, 3.0)])
def test_least_squares_gets_a_rate_that_solves_it(optimizer: str, low: float, high: float) -> None:
    # Curvature 2 in every direction: SGD is stable below 1, and best near 1/2.
    found = learner(optimizer).lr_find((X, Y), verify=True)
    assert found.suggestion is not None
    assert low <= found.suggestion <= high
    assert found.method == "verified"
    one = learner(optimizer)
    one.fit((X, Y), epochs=20, lr=found.suggestion, schedule="cosine", verbose=False)
    assert one.evaluate((X, Y))["loss"] < 0.02


def test_verification_by_hand() -> None:
    # Each trial is a plain torch training under a held rate, from the same weights through the same batches.
    one = learner()
    found = one.lr_find((X, Y), valid=(X[:128], Y[:128]), verify=True, verify_steps=8, batch_size=64)
    source = tw.data.source((X, Y), batch_size=64, seed=one.seed or 0)
    for trial in found.trials:
        model = learner().module
        optimizer = torch.optim.SGD(model.parameters(), lr=trial.lr)
        batches = [batch for epoch in range(3) for batch in source.batches(epoch)]
        for step, (x, y) in enumerate(batches[: trial.steps]):
            decay = round(trial.steps / 3)
            optimizer.param_groups[0]["lr"] = trial.lr * min(1.0, (trial.steps - step) / decay)
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            loss = nn.functional.mse_loss(model(X[:128]), Y[:128]).item()
        assert trial.loss == pytest.approx(loss, rel=1e-3) or loss > 1e3
    first, second = ([trial for trial in found.trials if trial.steps == steps] for steps in (8, 16))
    best = min(first, key=lambda trial: trial.loss)
    assert 3 <= len(first) <= 7
    assert best.lr in {trial.lr for trial in second}
    assert found.suggestion in {trial.lr for trial in second}
    assert [trial.lr < best.lr for trial in second] == [True, False, False]
    assert [trial.lr > best.lr for trial in second] == [False, False, True]
    assert found.updates == len(found.lr) + sum(trial.steps for trial in found.trials)


class Brittle(nn.Module):
    """Learns fast at a high rate and breaks for good once its weight has been large."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 1))
        self.alive = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x @ self.weight * torch.relu(self.alive)
        return result


def test_the_cost_is_bounded() -> None:
    for optimizer in ("sgd", "adam"):
        found = learner(optimizer, Brittle()).lr_find((X, Y), steps=40, verify=True, verify_steps=6)
        assert found.updates <= 40 + most_updates(6) == 40 + 11 * 6


@pytest.mark.parametrize(("epochs", "verified"), [(1, False), (200, True)])
def test_verification_is_the_default_where_it_is_cheap(epochs: int, verified: bool) -> None:
    # 8 updates an epoch; short trainings of 4 cost 44 at most.
    found = learner().lr_find((X, Y), epochs=epochs, steps=30, verify_steps=4)
    assert bool(found.trials) is verified
    assert found.decided_by == ("training data" if verified else "")


def test_validation_data_decide_where_there_are_some() -> None:
    found = learner().lr_find((X, Y), validation_split=0.25, steps=30, verify=True, verify_steps=4)
    assert found.decided_by == "validation data"


def test_a_linear_sweep_is_evenly_spaced() -> None:
    found = learner().lr_find((X, Y), low=0.01, high=0.1, steps=30, sweep="linear", verify=False)
    assert np.allclose(np.diff(found.lr), 0.09 / 29)


def test_the_sweep_stops_where_the_loss_diverges() -> None:
    found = learner().lr_find((X, Y), high=1e4, verify=False)
    assert len(found.lr) < 100
    assert "diverged" in found.stopped or "not finite" in found.stopped


def test_group_ratios_are_kept_in_the_sweep() -> None:
    seen: list[float] = []

    class See(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                seen.append(one.optimizer.param_groups[0]["lr"] / one.optimizer.param_groups[1]["lr"])
            return super().forward(x)

    one = learner(model=See(6, 1), overrides={"weight": {"lr": 0.02}}, lr=0.01)
    one.lr_find((X, Y), steps=25, verify=False)
    assert np.allclose(seen[1:], 2.0)


@pytest.mark.parametrize(
    ("optimizer", "pretrained", "expected"),
    [
        (tw.optim.SGD(lr=0.1), False, (1e-6, 10.0)),
        (tw.optim.Adam(lr=0.1), False, (1e-7, 1.0)),
        (tw.optim.Adam(lr=0.1), True, (1e-8, 0.01)),
        (tw.optim.Lion(lr=0.1), False, (1e-8, 0.1)),
        (tw.optim.Lookahead(tw.optim.SGD(lr=0.1)), False, (1e-6, 10.0)),
        (torch.optim.SGD, False, (1e-6, 10.0)),
        (torch.optim.AdamW, False, (1e-7, 1.0)),
    ],
)
def test_the_range_fits_the_rule(optimizer: Any, pretrained: bool, expected: tuple[float, float]) -> None:
    made = learner(optimizer).optimizer
    assert rate_range(made, pretrained) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"low": 1.0, "high": 0.1}, ValueError, r"lr_find: the range from low=1 to high=0.1 is empty"),
        ({"low": 20.0}, ValueError, r"the range from low=20 to high=10 is empty"),
        ({"low": 0.0}, ValueError, r"lr_find: low=0.0 must be > 0"),
        ({"low": -1.0}, ValueError, r"lr_find: low=-1.0 must be > 0"),
        ({"high": float("inf")}, ValueError, r"lr_find: high=inf must be > 0"),
        ({"steps": 5}, ValueError, r"lr_find: steps=5 must be >= 20"),
        ({"steps": 30.5}, TypeError, r"steps=30.5 must be a whole number"),
        ({"sweep": "cubic"}, ValueError, r"unknown sweep 'cubic'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        learner().lr_find((X, Y), **settings)


def test_a_loss_that_is_nan_from_the_start_is_refused() -> None:
    model = nn.Linear(6, 1)
    nn.init.constant_(model.weight, float("nan"))
    with pytest.raises(ValueError, match=r"lr_find: the loss is nan at the first batch, before any update"):
        learner(model=model).lr_find((X, Y))


def test_a_rule_with_a_rate_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lr_find: the rule computes its own rate \(lr=None\)"):
        learner(tw.optim.Adafactor(lr=None)).lr_find((X, Y))


def test_nothing_to_learn_gives_no_suggestion_and_the_reason() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return 0.0 * self.weight + torch.zeros(len(x), 1)

    for verify in (False, True):
        found = learner(model=Constant()).lr_find((X, Y), verify=verify)
        assert found.suggestion is None
        assert found.reason
        assert f"no reliable suggestion: {found.reason}" in repr(found)
        with pytest.raises(ValueError, match=r"lr=None is no rate\. A finder suggests None"):
            learner().fit((X, Y), lr=found.suggestion)


@pytest.fixture(scope="module")
def finding() -> Finding:
    return learner().lr_find((X, Y), verify=True, verify_steps=4)


def test_it_shows_itself(finding: Finding) -> None:
    assert repr(finding).startswith("Finding(suggestion=")
    assert "verified on training data" in repr(finding)
    html = finding._repr_html_()
    assert "suggestion" in html
    assert "steepest" in html
    figure = finding.plot(skip_start=10, skip_end=5)
    drawn = figure.axes[0].lines[0].get_xdata()
    assert len(drawn) == len(finding.lr) - 15
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert any(label.startswith("verified") for label in labels)


def test_suggestions_are_attributes_too(finding: Finding) -> None:
    assert finding.steepest == finding.suggestions["steepest"]
    with pytest.raises(AttributeError, match="Finding has no 'steep'; it has suggestion, steepest"):
        _ = finding.steep


def test_it_survives_a_file_without_pickle(finding: Finding, tmp_path: Path) -> None:
    path = finding.save(tmp_path / "found")
    assert path.suffix == ".npz"
    again = Finding.load(path)
    assert repr(again) == repr(finding)
    assert np.array_equal(again.loss, finding.loss)
    assert again.trials == finding.trials
    assert again.band == finding.band


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match=r"Finding\.load: .* cannot be read"):
        Finding.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        Finding.load(tmp_path / "none.npz")


@pytest.mark.parametrize("rate", [1e-7, 2.4e-4, 0.02, 0.55, 1.0, 7.0])
def test_the_nearest_round_rate_is_within_half_a_step(rate: float) -> None:
    assert 1 / 2 < lattice(nearest(rate)) / rate < 2


def test_rates_run_from_end_to_end() -> None:
    rates = rates_of(1e-7, 1.0, 71)
    assert (rates[0], rates[-1]) == (1e-7, 1.0)
    assert np.allclose(rates[1:] / rates[:-1], 10**0.1)


def test_an_infinite_trial_is_one_that_diverged() -> None:
    found = learner().lr_find((X, 1e3 * Y), low=0.5, high=50.0, steps=20, verify=True, verify_steps=16)
    assert any(trial == Trial(trial.lr, float("inf"), trial.steps) or trial.loss > 1e6 for trial in found.trials)

"""A hook's own step: what it may return, what data it may take, and that there is one of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def learner() -> tw.Learner:
    return tw.Learner(nn.Linear(3, 2), optimizer="sgd", lr=0.1, loss="cross_entropy", device="cpu", seed=0)


class EveryOther(tw.Hook):
    """Records a loss of 2 at every second step and nothing in between."""

    def step(self, run: Any, batch: Any) -> Tensor | None:
        return torch.tensor(2.0) if run.step % 2 else None


class Fixed(tw.Hook):
    def __init__(self, value: float) -> None:
        self.value = value

    def step(self, run: Any, batch: Any) -> tuple[Tensor, int]:
        return torch.tensor(self.value * 10), 10


def test_a_step_that_records_nothing_weighs_nothing() -> None:
    history = learner().fit((X, Y), epochs=1, batch_size=10, hooks=[EveryOther()], verbose=False)
    assert [math.isnan(value) for value in history["loss"]] == [True, False, True, False]
    assert history.history["loss"] == [2.0]


def test_a_nan_that_was_returned_is_noticed() -> None:
    with pytest.raises(FloatingPointError, match="the loss was nan at step 1"):
        learner().fit((X, Y), epochs=1, batch_size=10, hooks=[Fixed(math.nan)], verbose=False)


def test_data_without_targets_are_the_steps_own_affair(tmp_path: Path) -> None:
    history = learner().fit(X, epochs=1, batch_size=10, hooks=[Fixed(3.0)], verbose=False, run_dir=tmp_path / "run")
    assert history["loss"].tolist() == [3.0] * 4
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["step"] == {"name": "replaced", "why": "by Fixed.step"}


def test_two_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="EveryOther and Fixed both replace the step"):
        learner().fit((X, Y), hooks=[EveryOther(), Fixed(1.0)], verbose=False)


def test_an_attribute_named_step_is_the_users_own() -> None:
    class Counting(tw.Hook):
        def __init__(self) -> None:
            self.step = 0

        def on_step_end(self, run: Any) -> None:
            self.step += 1

    hook = Counting()
    learner().fit((X, Y), epochs=1, batch_size=10, hooks=[hook], verbose=False)
    assert hook.step == 4


def test_early_stopping_begins_anew_with_every_fit() -> None:
    stopping = tw.EarlyStopping("loss", patience=1)
    fitted = learner()
    first = fitted.fit((X, Y), epochs=3, hooks=[stopping], verbose=False)
    with torch.no_grad():
        fitted.module.weight[:, 0] = torch.tensor([20.0, -20.0])  # now far worse than the first fit's best
    again = fitted.fit((X, Y), epochs=3, hooks=[stopping], verbose=False)
    assert len(first.epochs) == len(again.epochs) == 3
    assert stopping.best == again.history["loss"][-1] > first.history["loss"][-1]

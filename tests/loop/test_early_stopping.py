"""Early stopping stops when it says, goes back to the best weights, and goes on where it was after an interruption."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.loop import Hook


def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=generator)
    return x, (x[:, 0] > 0).long()


X, Y = rows()


def learner(**options: Any) -> tw.Learner:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return tw.Learner(module, optimizer="adam", loss="cross_entropy", device="cpu", seed=0, **options)


def fit(given: tw.Learner, *hooks: Hook, **options: Any) -> tw.History:
    return given.fit((X, Y), hooks=hooks, batch_size=8, verbose=False, **options)


class Script(Hook):
    """Puts given values into the epoch rows, before the hooks after it see them, and marks the weights by the epoch."""

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values = name, values

    def on_epoch_end(self, run: Any, row: dict[str, float]) -> None:
        row[self.name] = self.values[run.epoch - 1]
        with torch.no_grad():
            run.module[0].bias.fill_(float(run.epoch))


def scripted(values: list[float], stopping: tw.EarlyStopping) -> tuple[tw.Learner, tw.History]:
    given = learner(metrics=["accuracy"], lr=0.0)
    history = fit(given, Script(stopping.monitor, values), valid=(X, Y), epochs=len(values), early_stopping=stopping)
    return given, history


CASES: dict[str, tuple[dict[str, Any], list[float], int, int]] = {
    # settings, values, epochs that are run, best epoch
    "falls, then rises": ({"patience": 2}, [3.0, 2.0, 2.5, 2.4, 1.0], 4, 2),
    "patience of one": ({"patience": 1}, [3.0, 2.0, 2.5, 1.0], 3, 2),
    "recovers in time": ({"patience": 2}, [3.0, 3.5, 2.0, 2.5, 1.0, 1.5], 6, 5),
    "equal is no improvement": ({"patience": 2}, [2.0, 2.0, 2.0, 1.0], 3, 1),
    "too little is no improvement": ({"patience": 2, "min_delta": 0.1}, [2.0, 1.95, 1.91, 1.0], 3, 1),
    "enough is, counted from the best": ({"patience": 2, "min_delta": 0.1}, [2.0, 1.95, 1.85, 1.8, 1.7], 5, 5),
    "NaN is no improvement": ({"patience": 2}, [2.0, math.nan, math.nan, 1.0], 3, 1),
    "max by name": ({"monitor": "val_accuracy", "patience": 2}, [0.5, 0.7, 0.6, 0.65, 0.9], 4, 2),
    "max when asked": ({"mode": "max", "patience": 1}, [1.0, 2.0, 1.5, 3.0], 3, 2),
    "max with min_delta": (
        {"monitor": "val_accuracy", "patience": 2, "min_delta": 0.05},
        [0.5, 0.54, 0.55, 0.9],
        3,
        1,
    ),
    "min against the name": ({"monitor": "val_accuracy", "mode": "min", "patience": 1}, [0.5, 0.4, 0.45, 0.1], 3, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_early_stopping_by_a_script(case: str) -> None:
    settings, values, run, best = CASES[case]
    stopping = tw.EarlyStopping(**settings)
    given, history = scripted(values, stopping)
    assert len(history.epochs) == run
    assert stopping.best_epoch == best
    assert stopping.best == values[best - 1]
    assert given.module[0].bias.tolist() == [float(best)] * 8, "the best epoch's weights are put back"
    restored = any(kind == "early stopping" for _, kind, _ in history.events)
    assert restored is (best != run)


def test_early_stopping_says_why() -> None:
    _, history = scripted([3.0, 2.0, 2.5, 2.4, 1.0], tw.EarlyStopping(patience=2))
    stopped = [text for _, kind, text in history.events if kind == "stopped"]
    assert stopped == ["val_loss has not improved on 2 (epoch 2) for 2 epochs"]
    assert "weights of epoch 2 restored" in [text for _, _, text in history.events]


def test_the_last_weights_stay_where_that_was_asked_for() -> None:
    given, history = scripted([1.0, 2.0, 3.0], tw.EarlyStopping(patience=1, restore_best=False))
    assert len(history.epochs) == 2
    assert given.module[0].bias.tolist() == [2.0] * 8


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("loss", "min"), ("val_loss", "min"), ("val_accuracy", "max"), ("val_f1", "max"), ("val_mae", "min")],
)
def test_auto_goes_by_the_name(monitor: str, mode: str) -> None:
    assert tw.EarlyStopping(monitor).mode == mode


def test_a_patience_alone_watches_the_validation_loss() -> None:
    given = learner(lr=0.0)  # nothing improves on the first epoch
    history = fit(given, valid=(X, Y), epochs=9, early_stopping=3)
    assert len(history.epochs) == 4


@pytest.mark.parametrize("stop", [2, 3])
def test_early_stopping_goes_on_where_it_was(tmp_path: Path, stop: int) -> None:
    """Interrupted while it waits, it neither forgets the best epoch nor starts to count anew."""
    values = [3.0, 2.0, 2.5, 2.4, 2.3, 1.0]

    class StopAfter(Hook):
        def __init__(self, epoch: int) -> None:
            self.epoch = epoch

        def on_epoch_end(self, run: Any, row: dict[str, float]) -> None:
            if run.epoch == self.epoch:
                run.stop("the test said so")

    def train(stop: int, **options: Any) -> tuple[tw.Learner, tw.EarlyStopping, tw.History]:
        stopping = tw.EarlyStopping(patience=3, restore_best=True)
        given = learner(lr=0.0)
        hooks = (Script("val_loss", values), StopAfter(stop))
        history = fit(given, *hooks, valid=(X, Y), epochs=6, early_stopping=stopping, **options)
        return given, stopping, history

    _, expected, whole = train(-1)
    assert len(whole.epochs) == 5
    train(stop, run_dir=tmp_path / "run")
    given, stopping, history = train(-1, resume=tmp_path / "run")
    assert len(history.epochs) == 5
    assert (stopping.best, stopping.best_epoch, stopping.waited) == (2.0, 2, 3)
    assert (stopping.best, stopping.best_epoch) == (expected.best, expected.best_epoch)
    assert given.module[0].bias.tolist() == [2.0] * 8, "the best weights were in the checkpoint"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0}, r"EarlyStopping: patience=0 must be >= 1"),
        ({"min_delta": -0.1}, r"EarlyStopping: min_delta=-0\.1 must be >= 0"),
        ({"mode": "maxi"}, r"EarlyStopping: unknown mode 'maxi'\. Did you mean 'max'\?"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tw.EarlyStopping(**settings)


def test_a_monitor_needs_its_column() -> None:
    with pytest.raises(ValueError, match=r"monitor='val_loss' needs validation data"):
        fit(learner(), early_stopping=2)
    with pytest.raises(ValueError, match=r"monitor='val_acuracy' is not recorded\. Did you mean 'val_accuracy'\?"):
        fit(
            learner(metrics=["accuracy"]),
            valid=(X, Y),
            early_stopping=tw.EarlyStopping("val_acuracy"),
        )

"""A learner trains from a stream as from memory, and goes on in the middle of an epoch bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw


@pytest.fixture
def path(tmp_path: Path) -> str:
    values = np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float32)
    np.save(tmp_path / "rows.npy", values)
    return str(tmp_path / "rows.npy")


def learner(**settings: Any) -> tw.Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))
    return tw.Learner(model, optimizer="adam", lr=1e-2, loss="mse", seed=1, **settings)


def weights(trained: tw.Learner) -> torch.Tensor:
    return torch.cat([param.detach().flatten() for param in trained.module.parameters()])


@pytest.mark.parametrize("shuffle", ["block", "full", False])
def test_fit_from_a_stream_is_fit_from_memory_in_the_same_order(path: str, shuffle: Any) -> None:
    source = tw.data.stream(path, target=-1, batch_size=64, shuffle=shuffle)
    streamed = learner()
    streamed.fit(source, epochs=1, verbose=False)
    order = torch.cat([source.rows_of(0, index) for index in range(source.steps_per_epoch)])
    values = torch.from_numpy(np.load(path))[order]
    remembered = learner()
    remembered.fit(
        (values[:, :5].contiguous(), values[:, 5].contiguous()), epochs=1, batch_size=64, shuffle=False, verbose=False
    )
    assert torch.equal(weights(streamed), weights(remembered))


class Stop(tw.Hook):
    """Asks for an end after so many updates."""

    def __init__(self, step: int) -> None:
        self.step_to_stop = step

    def on_step_end(self, run: Any) -> None:
        if run.step == self.step_to_stop:
            run.stop("enough")


@pytest.mark.parametrize("shuffle", ["block", False])
@pytest.mark.parametrize("stop", [3, 16, 21])
def test_a_learner_goes_on_in_the_middle_of_an_epoch_bit_for_bit(
    path: str, tmp_path: Path, shuffle: Any, stop: int
) -> None:
    def source() -> tw.data.StreamSource:
        return tw.data.stream(path, target=-1, batch_size=64, shuffle=shuffle)

    whole = learner()
    whole.fit(source(), epochs=2, verbose=False, run_dir=tmp_path / "whole", hooks=[Stop(-1)])
    learner().fit(source(), epochs=2, verbose=False, run_dir=tmp_path / "parted", hooks=[Stop(stop)])
    resumed = learner()
    history = resumed.fit(source(), epochs=2, verbose=False, resume=tmp_path / "parted", hooks=[Stop(-1)])
    assert torch.equal(weights(whole), weights(resumed))
    assert len(history.history["loss"]) == 2


def test_a_learner_refuses_to_go_on_with_other_files(path: str, tmp_path: Path) -> None:
    learner().fit(
        tw.data.stream(path, target=-1, batch_size=64),
        epochs=2,
        verbose=False,
        run_dir=tmp_path / "run",
        hooks=[Stop(3)],
    )
    np.save(path, np.load(path)[::-1].copy())
    with pytest.raises(ValueError, match="the files have changed since the state was saved"):
        learner().fit(
            tw.data.stream(path, target=-1, batch_size=64),
            epochs=2,
            verbose=False,
            resume=tmp_path / "run",
            hooks=[Stop(3)],
        )


def test_evaluate_and_predict_read_streams(path: str) -> None:
    trained = learner()
    values = torch.from_numpy(np.load(path))
    streamed = trained.evaluate(tw.data.stream(path, target=-1, shuffle=False))
    remembered = trained.evaluate((values[:, :5].contiguous(), values[:, 5].contiguous()), batch_size=4096)
    assert streamed["loss"] == pytest.approx(remembered["loss"], rel=1e-6)

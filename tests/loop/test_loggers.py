"""TensorBoard's and W&B's files, read back, hold the history's values; without them nothing is written."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from tests.loop.test_resume import StopAt, data, learner, model
from tests.recipe.tiny import tiny
from thalweg import recipe as recipes


def fit(run: Path, stop: int = -1, **options: Any) -> tw.History:
    options = {"epochs": 2, "batch_size": 10, "verbose": False, "hooks": [StopAt(stop)], "flush_every": 4, **options}
    where = {} if "resume" in options else {"run_dir": run}
    return learner(model(1), 0).fit(data(), valid=data(), **where, **options)


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Return tag → (step, value) of a run as TensorBoard itself reads it: what was marked as void is left out."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), purge_orphaned_data=True)
    events.Reload()
    found: dict[str, list[tuple[int, float]]] = {}
    for tag in events.Tags()["scalars"]:
        found[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
    return found


def wandb_rows(run: Path) -> list[list[dict[str, float]]]:
    """Return, by file, what W&B recorded: LevelDB's log format, with one protobuf message to a record."""
    from wandb.proto import wandb_internal_pb2

    files = []
    for path in sorted((run / "wandb").glob("offline-run-*/*.wandb")):
        content, position, parts, rows = path.read_bytes(), 7, b"", []
        while position + 7 <= len(content):
            left = 32768 - position % 32768
            if left < 7:
                position += left
                continue
            length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
            parts += content[position + 7 : position + 7 + length]
            position += 7 + length
            if kind in (1, 4):  # whole, or the last part of several
                record = wandb_internal_pb2.Record()
                record.ParseFromString(parts)
                parts = b""
                if record.WhichOneof("record_type") == "history":
                    items = record.history.item
                    rows.append(
                        {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}
                    )
        files.append(rows)
    return files


def assert_same(found: dict[str, list[tuple[int, float]]], history: tw.History) -> None:
    steps = history["step"].tolist()
    for column in ("loss", "grad_norm", "lr", "smoothed"):
        assert [step for step, _ in found[f"train/{column}"]] == steps
        np.testing.assert_allclose([v for _, v in found[f"train/{column}"]], history[column], rtol=1e-6)
    rows = history.epochs
    assert [step for step, _ in found["epoch/val_loss"]] == [row["step"] for row in rows]
    np.testing.assert_allclose([v for _, v in found["epoch/val_loss"]], [r["val_loss"] for r in rows], rtol=1e-6)


def test_tensorboard_reads_back_what_the_history_holds_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    options = {"loggers": "tensorboard", "checkpoint_every": "5 steps"}
    fit(run, 9, **options)
    # As if it had been killed: the updates after the checkpoint of step 5 are made again.
    shutil.rmtree(run / "checkpoints" / "step-000000009")
    history = fit(run, resume=run, **options)
    found = scalars(run)
    assert_same(found, history)
    assert len(list((run / "tensorboard").iterdir())) == 2


def test_wandb_reads_back_offline_what_the_history_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    run = tmp_path / "run"
    history = fit(run, loggers=["wandb"])
    (rows,) = wandb_rows(run)
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append((int(row["step"]), float(value)))
    assert_same(found, history)
    kept = json.loads((run / "wandb.json").read_text())["id"]
    assert [path.suffixes for path in (run / "wandb").glob(f"offline-run-*/run-{kept}.wandb")] == [[".wandb"]]


def test_a_loss_that_is_nan_is_logged_as_nan(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")

    class Bad(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * math.nan

    made = tw.Learner(nn.Sequential(nn.Linear(3, 1), Bad()), "sgd", "mse", device="cpu")
    x = torch.ones(8, 3)
    with pytest.raises(FloatingPointError):
        made.fit((x, x[:, :1]), run_dir=tmp_path / "run", loggers="tensorboard", verbose=False, batch_size=4)
    assert [math.isnan(value) for _, value in scalars(tmp_path / "run")["train/loss"]] == [True, True]


def test_nothing_is_logged_unless_it_is_asked_for(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(run)
    assert not (run / "tensorboard").exists()
    assert not (run / "wandb").exists()


def test_a_recipe_names_its_loggers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    recipe = recipes.load(tiny(train={"epochs": 1, "batch_size": 16, "device": "cpu", "loggers": ["tensorboard"]}))
    assert 'loggers = ["tensorboard"]' in str(recipe)
    recipes.run(recipe, tmp_path / "run", verbose=False)
    assert len(scalars(tmp_path / "run")["train/loss"]) == 6


def test_what_cannot_be_logged_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"fit: unknown logger 'wandbb'\. Did you mean 'wandb'\? Known: tensorboard"):
        fit(tmp_path / "a", loggers=["wandbb"])
    with pytest.raises(ValueError, match=r"\[train\]: unknown logger 'tensorbord'"):
        recipes.load(tiny(train={"loggers": ["tensorbord"]}))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"the logger 'wandb' was asked for, but the package wandb is not installed"):
        fit(tmp_path / "b", loggers=["wandb"])
    monkeypatch.undo()
    monkeypatch.setattr("thalweg.loop.loggers.importlib.util.find_spec", lambda name: object())
    with pytest.raises(ValueError, match=r"loggers=\['tensorboard'\] write into the run directory; pass run_dir too"):
        learner(model(1), 0).fit(data(), loggers=["tensorboard"], verbose=False)
    assert not list(tmp_path.iterdir())


def test_an_unreadable_id_is_said(tmp_path: Path) -> None:
    from thalweg.loop.weights_and_biases import _id

    path = tmp_path / "wandb.json"
    first = _id(path)
    assert _id(path) == first
    path.write_text("{")
    with pytest.raises(ValueError, match=r"wandb: .*wandb\.json cannot be read"):
        _id(path)

"""`torchrun -m thalweg run`: two processes give what one gives, in one directory, and one goes on where two were."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.recipe.tiny import tiny
from thalweg.recipe import load, resume, run

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="gloo is not built in")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "thalweg"]


def started(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TORCHRUN, *words], cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def losses(run: Path) -> list[float]:
    return [float(row["loss"]) for row in csv.DictReader((run / "history.csv").read_text().splitlines())]


def test_two_processes_run_a_recipe_and_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"name": "mlp", "hidden": [8]}  # no dropout: its masks differ from rank to rank
    recipe = load(tiny(model=model, train={"epochs": 3, "batch_size": 10, "device": "cpu"}))
    recipe.save(tmp_path / "tiny.toml")
    monkeypatch.chdir(tmp_path)
    run(recipe, "one", verbose=False)
    ended = started(tmp_path, "run", "tiny.toml", "--out", "two")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("epoch 3/3") == 1, "only the first process prints"
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], rtol=1e-5, atol=1e-5) for name in one)
    assert (tmp_path / "two" / "report.html").exists()
    with pytest.warns(UserWarning, match="processes: 1, were 2"):
        resume("two", overrides=["train.epochs=4"], verbose=False)
    assert len(losses(tmp_path / "two")) == 40


def test_a_mistake_ends_all_with_its_message(tmp_path: Path) -> None:
    load(tiny(train={"epochs": 3, "batch_size": 1, "device": "cpu"})).save(tmp_path / "tiny.toml")
    ended = started(tmp_path, "run", "tiny.toml", "--out", "two")
    assert ended.returncode != 0
    assert "batch_size=1 counts the rows of all processes together, and there are 2" in ended.stderr
    assert not (tmp_path / "two").exists()


def test_both_find_the_rate_that_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows on disk, of which each process reads its share."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((331, 4)).astype(np.float32)
    np.save(tmp_path / "rows.npy", np.concatenate([x, np.tanh(x.sum(1, keepdims=True))], axis=1))
    (tmp_path / "rows_on_disk.py").write_text(
        "import thalweg as tw\ndef make():\n"
        "    return tuple(tw.data.stream('rows.npy', target=[4], batch_size=30, seed=s) for s in (1, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = load(tiny(data={"name": "rows_on_disk:make"}, model={"name": "mlp", "hidden": [8], "inputs": 4}))
    recipe.save("tiny.toml")
    learner, data = recipe.build()
    alone = learner.lr_find(data.train, valid=data.valid, accumulate=2, verify=True)
    ended = started(tmp_path, "find", "tiny.toml", "--verify", "--json")
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)  # one object: only the first process prints
    assert said["suggestion"] == pytest.approx(alone.suggestion)
    assert said["suggestions"] == pytest.approx(alone.suggestions, rel=1e-3)
    assert said["decided_by"] == "validation data"

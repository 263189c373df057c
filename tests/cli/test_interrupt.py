"""A run that is stopped from outside at a random moment, and goes on, as separate processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.recipe.tiny import tiny
from thalweg.recipe import load, run

EPOCHS, UPDATES = 16, 120  # most of a second of training, few files
COMMAND = [sys.executable, "-m", "thalweg", "run"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the recipe, and with the run that nobody stopped."""
    place = tmp_path_factory.mktemp("runs")
    train = {"epochs": EPOCHS, "batch_size": 4, "accumulate": 2, "checkpoint_every": "10 epochs"}
    recipe = load(tiny(train=train), [f"data.n={UPDATES * 8}"])
    run(recipe.save(place / "long.toml"), place / "whole", verbose=False)
    return place


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_goes_on_to_the_same_weights(folder: Path, number: int, status: int) -> None:
    out = folder / signal.Signals(number).name
    process = subprocess.Popen(
        [*COMMAND, "long.toml", "--out", out.name],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (out / "history.csv").exists() and process.poll() is None:
        time.sleep(0.01)
    # A moment that differs from run to run: whichever it is, the weights must come out the same.
    time.sleep(random.Random(os.urandom(4)).uniform(0.0, 0.15))
    process.send_signal(number)
    said, error = process.communicate(timeout=120)
    assert process.returncode == status, error
    last = error.splitlines()[-1]
    step = int(last.removeprefix("stopped at step ").partition(";")[0])
    assert last == f"stopped at step {step}; go on with: thalweg run --resume {out.name}"
    assert 0 < step < EPOCHS * UPDATES, said
    assert not (out / "summary.json").exists()

    resumed = subprocess.run([*COMMAND, "--resume", out.name], cwd=folder, capture_output=True, text=True, check=True)
    assert f"run    {out.name}, from step {step:,} on" in resumed.stdout
    whole, mine = load_file(folder / "whole" / "model.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.equal(whole[name], mine[name]) for name in whole)
    assert (out / "history.csv").read_text() == (folder / "whole" / "history.csv").read_text()


def test_stopping_before_the_first_step_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "slow_data.py").write_text(
        "import time\ndef make():\n    print('loading', flush=True)\n    time.sleep(60)\n"
    )
    load(tiny()).save(tmp_path / "recipe.toml")
    process = subprocess.Popen(
        [*COMMAND, "recipe.toml", "data=slow_data:make"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "stopped before the first step; nothing is kept"
    assert not (tmp_path / "runs").exists()

"""A real signal in a real process: the step ends, the checkpoint is written, the program ends as the signal says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import sys, torch
import thalweg as tw
torch.manual_seed(0)
X, y = torch.randn(400, 8), torch.randint(0, 3, (400,))
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 3))
learner = tw.Learner(model, optimizer="adam", loss="cross_entropy", seed=0, device="cpu")
class Slow(tw.Hook):
    def on_step_end(self, run):
        if sys.argv[2] == "slow":
            import time; time.sleep(0.01)
        if run.step == 5:
            print("five", flush=True)
options = {"resume": sys.argv[1]} if sys.argv[3] == "resume" else {"run_dir": sys.argv[1]}
learner.fit((X, y), epochs=6, batch_size=10, accumulate=2, verbose=False, hooks=[Slow()], **options)
"""


def run(folder: Path, speed: str, mode: str, interrupt: int | None = None) -> int:
    command = [sys.executable, "-c", SCRIPT, str(folder), speed, mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        if interrupt is not None:
            assert process.stdout is not None
            assert process.stdout.readline() == b"five\n"
            time.sleep(0.07)  # a step somewhere in the middle of an epoch
            process.send_signal(interrupt)
        return process.wait(timeout=120)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_whole_and_it_goes_on(tmp_path: Path, number: int) -> None:
    assert run(tmp_path / "whole", "fast", "new") == 0
    code = run(tmp_path / "broken", "slow", "new", number)
    assert code in (130, 1, -signal.SIGINT) if number == signal.SIGINT else code == 128 + number
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    assert [p.name for p in (tmp_path / "broken").iterdir() if p.name.startswith(".")] == []
    assert run(tmp_path / "broken", "fast", "resume") == 0
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name

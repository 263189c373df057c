"""What the guard adds to a step of 1 ms, and what a checkpoint every minute adds to a minute.

`python benchmarks/overhead.py [guard] [checkpoint]`; all without arguments, about half a minute.

A percent of a step is below what two whole trainings can be told apart by on a busy machine, so the added work is timed
by itself, in CPU time of this process, and set against the step and the minute.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import thalweg as tw
from _record import Result, emit
from thalweg.loop import Checkpoints, HostLatch

STEP = 1e-3
MINUTE = 60.0


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the least CPU time of one call, over five rounds."""
    rounds = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(repeats):
            work()
        rounds.append((time.process_time() - begun) / repeats)
    return min(rounds)


def line(case: str, seconds: float, whole: float, target: float) -> None:
    """Print one result: the added seconds against the whole."""
    share = seconds / whole
    emit(
        Result(
            case=f"{case}: {100 * share:.2f} % added",
            ours=whole + seconds,
            peer=whole,
            peer_name=f"the same without, {whole:g} s",
            unit="s",
            ratio=1 + share,
            target=target,
            holds=1 + share <= target,
            floor=None,
        )
    )


def mlp() -> nn.Module:
    """784-50-10 with BatchNorm, so that there are buffers to keep."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 50), nn.BatchNorm1d(50), nn.ReLU(), nn.Linear(50, 10))


def judged_flush() -> float:
    """Return the CPU seconds of judging a window of 128 updates, by the update."""
    from thalweg.loop.judge import judge
    from thalweg.loop.recorder import Window

    learner = tw.Learner(mlp(), "adam", "cross_entropy", device="cpu", seed=0)
    kept: dict[str, object] = {}

    class Keep(tw.Hook):
        def on_fit_end(self, run: object) -> None:
            kept["run"] = run

    x, y = torch.randn(128 * 8, 784), torch.randint(0, 10, (128 * 8,))
    history = learner.fit((x, y), batch_size=8, verbose=False, hooks=[Keep()])
    block = {name: history[name] for name in ("step", "epoch", "loss", "weight", "grad_norm")}
    count = len(block["loss"])

    window = Window([(0, 1)] * count, np.ones(count, bool), np.full(count, -1), None)
    run = kept["run"]
    return cpu_seconds(lambda: judge(run, block, window, may_raise=True), 200) / count  # type: ignore[arg-type]


def guard() -> None:
    """Each policy's work beside the step's own."""
    line("guard 'raise' and 'rollback', of a 1 ms step", judged_flush(), STEP, 1.01)
    module = mlp()
    grads = [torch.randn_like(p) for p in module.parameters()]
    loss = torch.tensor(1.0)
    norms = list(torch._foreach_norm(grads))  # recorded with or without a guard
    for spike in (None, 10.0):
        latch = HostLatch(tw.Guard("skip", spike=spike), module)

        def work(latch: HostLatch = latch) -> None:
            latch.before()
            latch.skip(loss, 64, norms)

        with torch.no_grad():
            seconds = cpu_seconds(work, 5000)
        name = "guard 'skip'" + ("" if spike is None else " with spikes")
        line(f"{name}, three buffers, of a 1 ms step", seconds, STEP, 1.01)


def checkpoint() -> None:
    """A checkpoint of 25 million parameters under Adam (300 MB): copying, hashing, writing, by the minute."""
    model = nn.Sequential(*[nn.Linear(2500, 2500, bias=False) for _ in range(4)])
    learner = tw.Learner(model, "adam", "mse", device="cpu", seed=0)
    x = torch.randn(4, 2500)
    added: dict[str, float] = {}

    class Save(tw.Hook):
        def on_fit_end(self, run: object) -> None:
            writer = Checkpoints(run)  # type: ignore[arg-type]
            begun, wall = time.process_time(), time.perf_counter()
            writer.write()
            added["held up"] = time.perf_counter() - wall
            writer.wait()
            added["cpu"] = time.process_time() - begun

    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        learner.fit((x, x), batch_size=4, verbose=False, hooks=[Save()], run_dir=run_dir, checkpoint_every="999 steps")
    line("checkpoint of 25 M parameters with Adam's state every minute, held up", added["held up"], MINUTE, 1.02)
    line("checkpoint of 25 M parameters with Adam's state every minute, all CPU time", added["cpu"], MINUTE, 1.02)


PARTS = {"guard": guard, "checkpoint": checkpoint}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or list(PARTS):
        PARTS[name]()

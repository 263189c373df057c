"""Runs killed with SIGKILL at random moments until they end; the weights must be those of the run nobody killed.

`python benchmarks/torture.py [mlp] [convnet] [recommender] [char_lm] [stream] [--kills 200] [--seed 0]`

Half of the kills come at a random moment by the clock, half at a random call within the writing of a checkpoint. Each
process is forked from this one, so that only training is paid for; one that does not end is killed and counted as lost.
Compared with the run that nobody killed: weights, history, and the last checkpoint's tensors (optimizer's state,
generators). Printed: kills, resumes, bytes compared, and differences. The 200 kills take about four minutes; each task
can be run apart.
"""

from __future__ import annotations

import faulthandler
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _record import Result, emit, say
from _torture_tasks import TASKS, Made
from thalweg.checkpoint import checkpoints, whole

SEAMS = ("put", "sync_file", "rename", "sync_directory")


@dataclass
class Tally:
    """What happened to one task.

    Attributes:
        kills: processes killed before they ended.
        within: of those, killed within the writing of a checkpoint.
        resumes: processes that went on from a checkpoint.
        begun_anew: processes that found no checkpoint yet, because the one before was killed ahead of its first.
        runs: runs that came to their end.
        compared: bytes of final weights and histories compared with the uninterrupted run's.
        differing: of those, bytes that differ.
        lost: processes that failed by themselves, or did not end.
    """

    kills: int = 0
    within: int = 0
    resumes: int = 0
    begun_anew: int = 0
    runs: int = 0
    compared: int = 0
    differing: int = 0
    lost: int = 0


def train(task: Callable[[Path], Made], folder: Path, run: Path, shorter: int = 1) -> None:
    """Begin the run, or go on with it; its epochs are divided by *shorter*."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (the global generator is what a checkpoint keeps)
    learner, data, options = task(folder)
    options["epochs"] = max(2, options["epochs"] // shorter)
    if checkpoints(run):
        options["resume"] = run
    else:
        shutil.rmtree(run, ignore_errors=True)
        options["run_dir"] = run
    learner.fit(data, verbose=False, checkpoint_every="5 steps", **options)


def forked(work: Callable[[], None], log: Path) -> int:
    """Run *work* in a process of its own and return its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # nothing here has threads but torch, which rests
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        faulthandler.enable(log.open("w"))  # says where it stood, should it have to be ended
        work()
        status = 0
    except BaseException:
        log.write_text(traceback.format_exc())
    finally:
        os._exit(status)


def die_at_call(count: int) -> None:
    """Kill this process at the given call of those that write a checkpoint."""
    left = count

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return call

    for name in SEAMS:
        setattr(whole, name, wrapped(getattr(whole, name)))


def differing_bytes(a: bytes, b: bytes) -> int:
    """Return in how many bytes two files differ."""
    return 0 if a == b else abs(len(a) - len(b)) + sum(x != y for x, y in zip(a, b, strict=False))


def ended(child: int, patience: float) -> int:
    """Return the process's wait status; one that has not ended after so many seconds is ended with SIGABRT."""
    until = time.monotonic() + patience
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > until:
            os.kill(child, signal.SIGABRT)
            until = float("inf")
        time.sleep(0.005)


def left_behind(run: Path) -> dict[str, bytes]:
    """Return the files of a finished run that must not depend on how often it was killed."""
    files = [run / "model.safetensors", run / "history.csv", *(checkpoints(run)[-1:] or [run])]
    files[2] /= "tensors.safetensors"
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in files}


def torture(name: str, kills: int, folder: Path, draw: random.Random, shorter: int = 1) -> Tally:
    """Kill a task *kills* times, over as many runs as that takes; every run goes on to its end."""
    task, tally = TASKS[name], Tally()
    log = folder / f"{name}.log"
    train(task, folder, folder / name / "whole", shorter)  # here, so that the others find everything imported
    expected = left_behind(folder / name / "whole")
    begun = time.perf_counter()
    if ended(forked(lambda: train(task, folder, folder / name / "again", shorter), log), 600.0):
        raise RuntimeError(f"torture {name}: the run that nobody kills did not end well:\n{log.read_text()}")
    seconds = time.perf_counter() - begun
    assert left_behind(folder / name / "again") == expected, f"torture {name}: does not repeat without kills either"
    while tally.kills < kills:
        run = folder / name / f"run-{tally.runs}"
        while True:
            found = bool(checkpoints(run))
            tally.resumes += found
            tally.begun_anew += not found and run.exists()
            within = draw.random() < 0.5
            spared = tally.kills >= kills
            calls = draw.randrange(1, 1000 // shorter)

            def work(run: Path = run, within: bool = within, spared: bool = spared, calls: int = calls) -> None:
                if within and not spared:
                    die_at_call(calls)
                train(task, folder, run, shorter)

            child = forked(work, log)
            if not within and not spared:
                time.sleep(draw.uniform(0.0, 0.7 * seconds))
                os.kill(child, signal.SIGKILL)
            status = ended(child, 10.0 + 5 * seconds)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                tally.kills += 1
                tally.within += within
                continue
            if status:
                tally.lost += 1
                say(f"{name}: {'failed' if os.WIFEXITED(status) else 'did not end'}:\n{log.read_text()}")
            break
        tally.runs += 1
        mine = left_behind(run)
        tally.compared += sum(map(len, expected.values()))
        tally.differing += sum(differing_bytes(content, mine.get(file, b"")) for file, content in expected.items())
        shutil.rmtree(run, ignore_errors=True)
    return tally


def main(words: Sequence[str]) -> None:
    """Torture the tasks named (all by default) and print a line for each."""
    options = {"--kills": 200, "--seed": 0}
    names = []
    rest = iter(words)
    for word in rest:
        if word in options:
            options[word] = int(next(rest))
        else:
            names.append(word)
    torch.set_num_threads(1)
    chosen = names or list(TASKS)
    draw = random.Random(options["--seed"])
    for index, name in enumerate(chosen):
        share = options["--kills"] // len(chosen) + (index < options["--kills"] % len(chosen))
        with tempfile.TemporaryDirectory() as folder:
            tally = torture(name, share, Path(folder), draw)
        say(f"{name}: {tally}")
        emit(
            Result(
                case=(
                    f"torture {name}: {tally.kills} SIGKILLs ({tally.within} within a checkpoint's writing), "
                    f"{tally.resumes} resumes, {tally.runs} runs, {tally.compared:,} bytes compared"
                ),
                ours=float(tally.differing + tally.lost),
                peer=0.0,
                peer_name="the uninterrupted run, bit for bit",
                unit="bytes that differ, and runs lost",
                ratio=1.0 + tally.differing + tally.lost,
                target=1.0,
                holds=tally.differing + tally.lost == 0,
                floor=None,
            )
        )


if __name__ == "__main__":
    main(sys.argv[1:])

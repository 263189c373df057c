"""A race on disk, so that an interrupted one goes on."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checkpoint import flatten, load, save, unflatten
from .alone import Alone
from .candidate import Candidate
from .entry import Entry
from .lane import Lane
from .runner import Runner
from .stack import Stack

__all__ = ["Store", "race_key", "restore"]

_EVERY = 60.0  # seconds between two checkpoints


def race_key(entry: Entry, candidates: Sequence[Candidate], settings: Sequence[Any]) -> str:
    """Return a digest of what decides a race: candidates, settings, data, loss, the weights at the start."""
    digest = hashlib.sha256(repr((list(settings), entry.source.n, entry.source.batch_size)).encode())
    for candidate in candidates:
        digest.update(repr((candidate.setting, candidate.seed, candidate.order)).encode())
    digest.update(repr((entry.loss, entry.penalty)).encode())
    for name, tensor in entry.module.named_parameters():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass
class Store:
    """The checkpoint of a race, ``race.checkpoint`` in a directory; removed when the race has come to its end."""

    folder: Path
    key: str
    written: float = 0.0

    def __post_init__(self) -> None:
        self.written = time.monotonic()

    @property
    def path(self) -> Path:
        """Where the checkpoint is."""
        return self.folder / "race.checkpoint"

    def keep(self, runner: Runner) -> None:
        """Write a checkpoint if the last one is a minute old."""
        if time.monotonic() - self.written >= _EVERY:
            self.write(runner)

    def write(self, runner: Runner) -> None:
        """Write everything that going on needs."""
        lanes = [
            {
                "kind": lane.kind,
                "numbers": lane.numbers,
                "most": getattr(lane, "most", 1),
                "state": lane.state(),
            }
            for lane in runner.lanes
            if len(lane)
        ]
        members = [
            {
                "step": member.step,
                "ended": "" if member.ended == "stopped" else member.ended,
                "curve": member.curve,
                "validations": [list(pair) for pair in member.validations],
            }
            for member in runner.members
        ]
        running = {number for lane in runner.lanes for number in lane.numbers}
        weights = {
            str(number): {"params": params, "buffers": buffers}
            for number, (params, buffers) in runner.weights.items()
            if number not in running
        }
        tree = {
            "key": self.key,
            "rung": runner.rung,
            "total": runner.plan[-1].step,
            "notes": list(runner.choice.notes),
            "lanes": lanes,
            "members": members,
            "weights": weights,
        }
        tensors, plain = flatten(tree)
        save(self.path, tensors, {"race": plain})
        self.written = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """Return what was written, or None where there is nothing.

        Raises:
            ValueError: it is of another race.
        """
        if not self.path.is_dir():
            return None
        tensors, plain = load(self.path)
        tree: dict[str, Any] = unflatten(tensors, plain["race"])
        if tree["key"] != self.key:
            raise ValueError(
                f"race: {self.path} holds another race (other candidates, data, length or weights); resume with the "
                "same ones, or name another directory."
            )
        return tree

    def remove(self) -> None:
        """Remove the checkpoint of a race that is over."""
        if self.path.is_dir():
            shutil.rmtree(self.path)


def restore(runner: Runner, tree: dict[str, Any], total: int) -> None:
    """Put a runner where the checkpoint was written."""
    entry: Entry = runner.entry
    for member, held in zip(runner.members, tree["members"], strict=True):
        member.step, member.ended = int(held["step"]), str(held["ended"])
        member.losses = [np.asarray(held["curve"], dtype=np.float64)]
        member.validations = [(int(step), float(loss)) for step, loss in held["validations"]]
    lanes: list[Lane] = []
    for held in tree["lanes"]:
        numbers = [int(number) for number in held["numbers"]]
        candidates = [runner.members[number].candidate for number in numbers]
        if held["kind"] == "stack":
            stack = Stack(entry, candidates, numbers, total)
            stack.most = int(held["most"])
            lanes.append(stack)
        else:
            lanes.append(Alone(entry, candidates, numbers, total, ""))
        lanes[-1].load_state(held["state"])
    runner.lanes, runner.rung = lanes, int(tree["rung"])
    runner.choice.notes[:] = [str(note) for note in tree["notes"]]
    device = entry.device
    for number, held in tree["weights"].items():
        params = {name: tensor.to(device) for name, tensor in held["params"].items()}
        buffers = {name: tensor.to(device) for name, tensor in held["buffers"].items()}
        runner.weights[int(number)] = (params, buffers)

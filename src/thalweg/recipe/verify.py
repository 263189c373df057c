"""Whether a run that is stopped and gone on with is the run that was never stopped."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.checkpoint import flatten
from thalweg.loop import Hook, Run, read_checkpoint

from .dropout import dropout_hooks
from .load import load
from .names import NAMES, Names
from .recipe import Recipe

__all__ = ["Verification", "verify"]


class _StopAt(Hook):
    """Stops a training after so many updates."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, run: Run) -> None:
        if run.step == self.step:
            run.stop("verification")


@dataclass(frozen=True)
class Verification:
    """What a comparison found.

    Attributes:
        run: the run directory whose recipe was taken.
        steps: updates of each half.
        compared: tensors compared, generators and data position among them.
        bytes: of those tensors.
        differing: names of the tensors that differ, in the order of the checkpoint.
        largest: largest absolute difference in the first of them.
    """

    run: str
    steps: int
    compared: int
    bytes: int
    differing: tuple[str, ...] = ()
    largest: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.differing

    def __str__(self) -> str:
        way = f"{2 * self.steps} steps against {self.steps} + resume + {self.steps}"
        if self.holds:
            return f"{self.run}: {way}: {self.compared} tensors, {self.bytes:,} bytes, all the same bit for bit"
        return (
            f"{self.run}: {way}: {len(self.differing)} of {self.compared} tensors differ; the first is "
            f"{self.differing[0]}, by up to {self.largest:g}. Something that training draws from is in no checkpoint: "
            "a module or data set with a generator of its own, or an operation that is not deterministic on this device"
        )


def verify(directory: Path | str, steps: int = 20, *, names: Names = NAMES) -> Verification:
    """Train a run's recipe 2 · *steps* updates, and *steps*, resume, *steps*, and compare everything.

    Both are done in temporary directories; the run itself is only read. Between the halves model, data and learner are
    built anew, and Python's, NumPy's and torch's global generators are moved, as in another process.

    Args:
        directory: of a run of ``thalweg run``, or a recipe: a file, or the name of an embedded one.
        steps: updates of each half, >= 1; capped so that both halves fit into the recipe's training.
        names: what names stand for.

    Raises:
        ValueError: there is no recipe, or its training is a single update.
    """
    path = Path(directory)
    source = path / "recipe.toml" if path.is_dir() else path
    if path.is_dir() and not source.is_file():
        raise ValueError(
            f"verify {path}: holds no recipe.toml, so that it is no run of `thalweg run`; give a run directory or a "
            "recipe file."
        )
    if steps < 1:
        raise ValueError(f"verify: steps={steps} must be >= 1; give the updates of each half.")
    recipe = load(str(source), (), names)
    total = _total_steps(recipe, names)
    half = min(steps, total // 2) if total is not None else steps
    if half < 1:
        raise ValueError(f"verify {path}: the recipe trains {total} update in all; there is nothing to stop between.")
    with tempfile.TemporaryDirectory(prefix="thalweg-verify-") as folder:
        place = Path(folder)
        _train(recipe, names, 2 * half, run_dir=place / "whole")
        _train(recipe, names, half, run_dir=place / "halves")
        _elsewhere()
        _train(recipe, names, 2 * half, resume=place / "halves")
        whole, halves = (_tensors(place / name) for name in ("whole", "halves"))
    differing = [name for name in dict.fromkeys([*whole, *halves]) if not _same(whole.get(name), halves.get(name))]
    largest = 0.0
    if differing and differing[0] in whole and differing[0] in halves:
        a, b = whole[differing[0]], halves[differing[0]]
        largest = float((a.double() - b.double()).abs().max()) if a.shape == b.shape else float("inf")
    size = sum(tensor.numel() * tensor.element_size() for tensor in whole.values())
    return Verification(str(path), half, len(whole), size, tuple(differing), largest)


def _total_steps(recipe: Recipe, names: Names) -> int | None:
    learner, data = recipe.build(names)
    return learner.plan(data.train, **recipe.plan_arguments()).total_steps


def _train(recipe: Recipe, names: Names, stop: int, **where: Any) -> None:
    learner, data = recipe.build(names)
    settings = {**recipe.fit_arguments(), "checkpoint_every": "1000000000 steps", "log_every": None, "loggers": ()}
    with dropout_hooks(recipe) as masks:
        hooks = [*masks, _StopAt(stop)]
        learner.fit(data.train, valid=data.valid, verbose=False, hooks=hooks, **settings, **where)


def _elsewhere() -> None:
    """Leave every global generator in another state, as in another process."""
    torch.manual_seed(torch.initial_seed() + 7919)
    np.random.seed(7919)  # noqa: NPY002 - the global generator is the one meant
    random.seed(7919)


def _tensors(run: Path) -> dict[str, Tensor]:
    """Return every tensor of the last checkpoint, numbers that decide training among them; no times, no events."""
    tree = read_checkpoint(run)
    history = tree.pop("history")
    tensors, plain = flatten(tree)
    arrays, _ = flatten({"history": history["arrays"]})
    numbers = {f"plain/{key}": _numbers(plain[key]) for key in ("progress", "rates", "guard")}
    return {**tensors, **{name: tensor for name, tensor in numbers.items() if len(tensor)}, **arrays}


def _numbers(plain: Any) -> Tensor:
    """Return every number in nested plain data, in order."""
    if isinstance(plain, dict):
        parts = [_numbers(value) for value in plain.values()]
    elif isinstance(plain, list):
        parts = [_numbers(value) for value in plain]
    else:
        is_number = isinstance(plain, (int, float)) and not isinstance(plain, bool)
        return torch.tensor([float(plain)] if is_number else [], dtype=torch.float64)
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return False
    flat = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (a, b)]
    return torch.equal(*flat)

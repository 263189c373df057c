"""When a run's checkpoints are written, by whom, and which are kept."""

from __future__ import annotations

import math
import shutil
import time
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thalweg.checkpoint import BackgroundWriter, checkpoints, flatten, name_of, read_manifest, save
from thalweg.errors import unknown_name

from .hooks import is_better_upwards
from .state import collect

if TYPE_CHECKING:
    from .run import Run

__all__ = ["Checkpoints", "prune"]


class Checkpoints:
    """Writes a run's checkpoints while training goes on, and removes those that are not kept.

    The state is copied at the end of an update; hashing, writing and fsync happen on a thread. One write is under way
    at a time, so that a slow disk slows training instead of filling memory. A failure is raised at the
    next checkpoint, or at the end.

    Args:
        run: the training; without a run directory nothing is written.

    Raises:
        ValueError: the best of a column was asked for that the epoch rows will not have.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.cadence = run.settings.cadence
        self.on = run.directory is not None
        self.each_step = self.on and bool(self.cadence.steps or self.cadence.seconds)
        self._writer = BackgroundWriter()
        self._written = time.monotonic()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._writer.wait()
            return
        try:
            self._writer.wait()
        except OSError as failed:  # what ends the training is the reason; this stands beside it
            error.add_note(str(failed))

    def due(self) -> bool:
        """Whether one is due after the present update."""
        steps, seconds = self.cadence.steps, self.cadence.seconds
        if steps and self._run.step % steps == 0:
            return True
        if not seconds:
            return False
        due = time.monotonic() - self._written >= seconds
        return due if self._run.processes is None else self._run.processes.any(due)

    def after_epoch(self, row: dict[str, float]) -> None:
        """Write what is due after an epoch with this row: by count, and where it is the best so far."""
        if not self.on:
            return
        run = self._run
        is_best = self._note_best(row)
        count = self.cadence.epochs
        if is_best or (count and (run.epoch in (1, run.settings.epochs) or run.epoch % count == 0)):
            self.write(is_best=is_best)

    def _note_best(self, row: dict[str, float]) -> bool:
        column = self.cadence.best
        if not column:
            return False
        if column == "auto":
            column = "val_loss" if "val_loss" in row else "loss"
        if column not in row:
            raise unknown_name("fit checkpoint_every", "column of the best", column, row)
        value, best = row[column], self._run.best
        if not math.isfinite(value):
            return False
        if best is not None and (value <= best if is_better_upwards(column) else value >= best):
            return False
        self._run.best = value
        return True

    def write(self, *, is_best: bool = False) -> None:
        """Write the run as it stands between two updates.

        Raises:
            OSError: the one before could not be written.
        """
        run = self._run
        assert run.directory is not None, "a checkpoint needs a run directory"
        self._writer.wait()
        tensors, plain = flatten(collect(run))
        self._written = time.monotonic()
        if run.processes is not None and not run.processes.is_first:
            return
        facts = {"step": run.step, "epoch": run.epoch, "batch": run.batch, "best": run.best if is_best else None}
        folder = run.directory.path / "checkpoints" / name_of(run.step)
        # Training goes on in the same tensors, so the thread gets copies.
        owned = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}
        self._writer.submit(partial(_write, folder, owned, plain, facts, run.settings.keep))

    def wait(self) -> None:
        """Wait until what was handed over is on disk.

        Raises:
            OSError: it could not be written.
        """
        self._writer.wait()


def _write(folder: Path, tensors: dict[str, Tensor], plain: dict[str, Any], facts: dict[str, Any], keep: int) -> None:
    save(folder, tensors, plain, {**facts, "finite": _is_finite(tensors)})
    prune(folder.parent.parent, keep)


def _is_finite(tensors: dict[str, Tensor]) -> bool:
    """Whether parameters, buffers and the optimizer's state hold neither NaN nor infinity."""
    return all(
        _all_finite(tensor)
        for name, tensor in tensors.items()
        if name.startswith(("model/", "optimizer/")) and (tensor.is_floating_point() or tensor.is_complex())
    )


def _all_finite(tensor: Tensor) -> bool:
    """Whether no element is NaN or infinite.

    NaN and infinities never leave a sum, and one sum costs a twentieth of looking at each element; only a sum that is
    not finite, which large elements may make too, needs the look.
    """
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def prune(run: Path, keep: int) -> None:
    """Remove all checkpoints but the newest *keep*, the newest without NaN or infinity, and the newest best one."""
    found = checkpoints(run)
    kept = set(found[-keep:])
    for wanted in ("finite", "best"):
        for folder in reversed(found):
            if _fact(folder, wanted):
                kept.add(folder)
                break
    for folder in found:
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _fact(folder: Path, name: str) -> bool:
    try:
        value = read_manifest(folder)["facts"].get(name)
    except ValueError:  # damaged: it counts for nothing
        return False
    return value is not None and value is not False

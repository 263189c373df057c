"""Where a run is written, and where it begins: at its first step or at a checkpoint."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from torch import nn

from thalweg.engine import RuleOptimizer
from thalweg.loop import (
    DeviceLatch,
    HostLatch,
    NoDirectory,
    Precision,
    Processes,
    Run,
    RunDirectory,
    Settings,
    Watch,
    restore,
)

__all__ = ["go_on", "make_watch", "open_directory"]


def open_directory(run_dir: Path | str | None, resume: Path | None, processes: Processes | None) -> RunDirectory | None:
    """Return the run directory, locked: the one named, else the one that is resumed, else none.

    Raises:
        ValueError: it holds another run, or another process trains in it.
    """
    if processes is not None and not processes.is_first and (run_dir is not None or resume is not None):
        return NoDirectory(run_dir if run_dir is not None else _run_of(resume or Path()))
    if run_dir is not None:
        same = resume is not None and Path(run_dir).resolve() == _run_of(resume).resolve()
        directory = RunDirectory(run_dir, resume=same)
    elif resume is not None:
        directory = RunDirectory(_run_of(resume), resume=True)
    else:
        return None
    directory.lock()
    return directory


def _run_of(path: Path) -> Path:
    """Return the run directory that a checkpoint folder lies in, or the path itself."""
    return path.parent.parent if path.parent.name == "checkpoints" else path


def go_on(run: Run, tree: dict[str, Any], where: str) -> None:
    """Set the run to where the checkpoint left off, and say what is otherwise than it was.

    Raises:
        ValueError: it is of another run, or that run has finished.
    """
    changes = restore(run, tree, f"resume {where}")
    if run.epoch >= run.settings.epochs:
        raise ValueError(
            f"resume {where}: the run has finished its {run.epoch} epochs and epochs={run.settings.epochs} were asked "
            "for in all; ask for more epochs to go on."
        )
    run.is_changed = bool(changes) and run.directory is not None
    for line in changes:
        run.history.event(run.step, "changed on resume", line)
        # What was asked for anyway (more epochs, and the schedule that belongs to them) is no warning.
        if line.split(":")[0] in (*run.settings.change, "processes"):
            warnings.warn(f"resume at step {run.step}: {line}", stacklevel=4)
        elif run.settings.verbose:
            print(f"resume at step {run.step}: {line}", flush=True)


def make_watch(
    settings: Settings, optimizer: Any, precision: Precision, module: nn.Module, *, replaced: bool, kept: bool
) -> Watch:
    """Return what judges the updates.

    Args:
        settings: with the guard.
        optimizer: must be of a Thalweg rule for ``"skip"``, which is decided on the device.
        precision: fp16 skips by itself.
        module: whose buffers a skipped update leaves alone.
        replaced: whether a hook replaces the step.
        kept: whether there is a run directory.

    Raises:
        ValueError: the policy cannot work here.
    """
    guard = settings.guard
    if guard.policy == "rollback" and not kept:
        raise ValueError(
            "fit: guard='rollback' goes back to a checkpoint, and without a run directory there is none; pass run_dir."
        )
    if guard.policy != "skip":
        return Watch(guard)
    reason = ""
    if not isinstance(optimizer, RuleOptimizer):
        reason = f"{type(optimizer).__name__} cannot leave out an update on the device; use one of Thalweg's rules"
    elif replaced:
        reason = "a hook replaces the step; leave bad updates out in the hook"
    elif precision.scaler is not None:
        reason = "precision='fp16' skips updates with bad gradients by itself, to find its scale; use 'bf16'"
    if reason:
        raise ValueError(
            f"fit: guard='skip' cannot work here, because {reason}, or choose guard='raise' or 'rollback'."
        )
    on_cpu = all(param.device.type == "cpu" for param in module.parameters())
    return Watch(guard, HostLatch(guard, module) if on_cpu else DeviceLatch(guard, module))

"""The checkpoints of a run, and the newest one that is whole."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from .folder import aside, load
from .manifest import FILES, MANIFEST

__all__ = ["checkpoints", "clear_leftovers", "latest", "load_newest", "name_of", "step_of"]

_NAME = re.compile(r"step-(\d+)")
_LEFTOVER = re.compile(r"\.step-\d+\.(?:\d+\.tmp|\d+\.old|old)")


def name_of(step: int) -> str:
    """Return the folder's name of the checkpoint after *step* updates.

    >>> name_of(123)
    'step-000000123'
    """
    return f"step-{step:09d}"


def step_of(folder: Path) -> int:
    """Return the updates made before the checkpoint *folder* of a run."""
    match = _NAME.fullmatch(folder.name)
    assert match is not None, f"{folder} is no checkpoint of a run"
    return int(match[1])


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoint folders of a run, oldest first; whether they are whole is not looked at.

    One that was set aside for its successor counts where the successor never came.
    """
    parent = run / "checkpoints"
    if not parent.is_dir():
        return []
    found = {entry.name for entry in parent.iterdir() if _NAME.fullmatch(entry.name)}
    found |= {e.name[1:-4] for e in parent.iterdir() if e.name.endswith(".old") and _NAME.fullmatch(e.name[1:-4])}
    return sorted((parent / name for name in found), key=step_of)


def is_checkpoint(path: Path) -> bool:
    """Whether *path* is itself a checkpoint folder rather than a run."""
    return (path / MANIFEST).is_file() or (path / "state.json").is_file() or (aside(path) / MANIFEST).is_file()


def latest(run: Path) -> Path:
    """Return the newest complete checkpoint under *run* (a run directory or a checkpoint itself).

    Complete means that its files are there; :func:`load_newest` also looks at their sums.

    Raises:
        ValueError: there is none.
    """
    if is_checkpoint(run):
        return run
    whole = [path for path in checkpoints(run) if _is_complete(path) or _is_complete(aside(path))]
    if not whole:
        raise _none(run)
    return whole[-1]


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (MANIFEST, *FILES))


def _none(run: Path) -> ValueError:
    return ValueError(
        f"resume: {run} holds no checkpoint; give a run directory with checkpoints/step-N, or a checkpoint folder."
    )


def load_newest(run: Path) -> tuple[Path, dict[str, Tensor], dict[str, Any], list[str]]:
    """Read the newest checkpoint under *run* that is whole.

    Args:
        run: a run directory, or a checkpoint, which is then the only one that will do.

    Returns:
        (its folder, tensors, plain data, what is wrong with each newer one).

    Raises:
        ValueError: there is none, or none is whole; every reason is named.
    """
    if is_checkpoint(run):
        return run, *load(run), []
    folders = checkpoints(run)
    if not folders:
        raise _none(run)
    wrong: list[str] = []
    for folder in reversed(folders):
        try:
            tensors, plain = load(folder)
        except ValueError as error:
            wrong.append(str(error))
            continue
        return folder, tensors, plain, wrong
    if len(wrong) == 1:
        raise ValueError(wrong[0])
    raise ValueError(f"resume: {run} holds {len(wrong)} checkpoints and none is whole:\n" + "\n".join(wrong))


def clear_leftovers(run: Path) -> None:
    """Remove half-written checkpoints of processes that ended; only for who holds the run's lock.

    One that was set aside for a successor that never came gets its name back.
    """
    parent = run / "checkpoints"
    for entry in list(parent.iterdir()) if parent.is_dir() else ():
        if not _LEFTOVER.fullmatch(entry.name):
            continue
        own = parent / entry.name.split(".")[1]
        if entry.name.endswith(".old") and not own.exists():
            entry.rename(own)
        else:
            shutil.rmtree(entry, ignore_errors=True)

"""The directory of a run: a new one, or the one to go on in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from thalweg.checkpoint import write_text
from thalweg.loop import RunDirectory

__all__ = ["claim", "going_on", "release"]


def claim(name: str, out: Path | str | None = None) -> tuple[Path, bool]:
    """Return (a directory for one run, whether it was made now).

    Args:
        name: of the recipe.
        out: the directory; None takes a new ``runs/NAME-YYYYMMDD-HHMMSS``.

    Raises:
        ValueError: it holds a run or a recipe already, is a file, or cannot be written.
    """
    if out is None:
        return _new(Path("runs"), re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"), True
    path = Path(out)
    is_new = not os.path.exists(path)  # a name that cannot be one is refused in words next
    RunDirectory(path)
    if (path / "recipe.toml").exists():
        raise ValueError(
            f"run directory {path}: holds a recipe.toml already, which is never overwritten; choose another directory."
        )
    return path, is_new


def _new(parent: Path, name: str) -> Path:
    """Make and return a directory of a name that no other run has, also where two start in the same second."""
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1, 1000):
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except NotADirectoryError:
            raise ValueError(f"run directory {path}: {parent} is a file; name a directory with --out.") from None
        except OSError as error:
            raise ValueError(
                f"run directory {path}: cannot be made ({error.strerror}); name a place you may write to with --out."
            ) from None
        return path
    raise ValueError(f"run directory {parent / stem}: a thousand runs began in this second; name one with --out.")


def release(path: Path, is_new: bool) -> None:
    """Remove what :func:`claim` and the recipe left in *path*, if the run never began."""
    if (path / "plan.json").exists():
        return
    (path / "recipe.toml").unlink(missing_ok=True)
    if is_new and not any(path.iterdir()):
        path.rmdir()


@contextmanager
def going_on(path: Path, recipe: str | None) -> Iterator[None]:
    """Take away what a run that ended has left, for it is to go on, and write the recipe as it is from here on.

    Where training does not begin, because it is refused, all is put back.

    Args:
        path: the run directory.
        recipe: TOML, or None where it stays as it is.
    """
    aside = {path / name: path / f".{name}.before" for name in ("summary.json", "model.safetensors")}
    before = (path / "recipe.toml").read_text(encoding="utf-8")
    plan = _identity(path / "plan.json")
    for file, kept in aside.items():
        if file.exists():
            file.replace(kept)
    try:
        if recipe is not None:
            write_text(path / "recipe.toml", recipe)
        yield
    except BaseException:
        if _identity(path / "plan.json") == plan:  # which is the first thing that a training writes
            write_text(path / "recipe.toml", before)
            for file, kept in aside.items():
                if kept.exists():
                    kept.replace(file)
        raise
    finally:
        for kept in aside.values():
            kept.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns

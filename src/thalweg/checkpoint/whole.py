"""Write a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["put", "rename", "sync_directory", "sync_file", "write_text", "write_whole"]


def put(handle: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of *data*; every byte of a checkpoint goes through here."""
    handle.write(data)


def sync_file(handle: BinaryIO) -> None:
    """Make the file's contents durable."""
    handle.flush()
    os.fsync(handle.fileno())


def rename(old: Path, new: Path) -> None:
    """Give *old* the name *new*, replacing a file of that name."""
    old.replace(new)


def sync_directory(path: Path) -> None:
    """Make the directory's entries durable (POSIX); elsewhere the rename alone has to do."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let *write* fill a temporary file beside *path*, then fsync and rename it into place.

    A reader sees the old file or the new one, never a half; a failure leaves the old one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # what has this name is nobody's, and may be a link to elsewhere
    try:
        write(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write *text* as UTF-8, whole or not at all."""
    write_whole(path, lambda temporary: _fill(temporary, text))


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")

"""A checkpoint: one folder with tensors, state and manifest, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from . import whole
from .manifest import FILES, read_manifest, verify, write_manifest
from .tensor_file import write_hashed, write_tensors

__all__ = ["aside", "load", "save"]


def aside(folder: Path) -> Path:
    """Return where an older checkpoint of the same name lies while a new one takes its place."""
    return folder.with_name(f".{folder.name}.old")


def save(
    folder: Path, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], facts: Mapping[str, Any] | None = None
) -> Path:
    """Write a checkpoint to *folder*, which appears complete or not at all.

    The files are written into a hidden sibling, each fsynced, then the sibling; it is renamed, and the parent fsynced.
    An older checkpoint of the same name is set aside before and removed after, and :func:`load` finds it there should
    the machine stop in between.

    Args:
        folder: where; its parent is made.
        tensors: by name, on any device; views that share memory are stored apart.
        plain: JSON-able data.
        facts: JSON-able data for the manifest, which is read without the rest.

    Raises:
        OSError: the disk is full, read-only or failing; what was there before is untouched.
    """
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if hidden.exists():
            shutil.rmtree(hidden)
        hidden.mkdir()
        text = json.dumps(dict(plain), indent=1, allow_nan=True).encode()
        files = {
            FILES[0]: write_hashed(hidden / FILES[0], [text]),
            FILES[1]: write_tensors(hidden / FILES[1], tensors),
        }
        write_manifest(hidden, files, facts or {})
        whole.sync_directory(hidden)
        _put_in_place(hidden, folder)
        whole.sync_directory(folder.parent)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        reason = error.strerror or str(error)
        raise OSError(
            error.errno or 0,
            f"checkpoint {folder}: could not be written ({reason}); what was there before is untouched. Make room, or "
            "write elsewhere, and go on from there",
        ) from error
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    return folder


def _put_in_place(hidden: Path, folder: Path) -> None:
    old = aside(folder)
    if not folder.exists():
        whole.rename(hidden, folder)
    else:
        if old.exists():
            shutil.rmtree(old)
        whole.rename(folder, old)
        try:
            whole.rename(hidden, folder)
        except OSError:
            whole.rename(old, folder)
            raise
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint, every file held against its sum first.

    Raises:
        ValueError: a file is missing, truncated, changed or of another format; the message names it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not folder.exists() and aside(folder).exists():
        folder = aside(folder)
    verify(folder, read_manifest(folder))
    try:
        plain = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
        if not isinstance(plain, dict):
            raise ValueError(f"it holds a {type(plain).__name__}")
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"checkpoint {folder}: {FILES[0]} cannot be read ({error}); the file is damaged, choose another checkpoint."
        ) from error
    try:
        tensors = load_file(folder / FILES[1])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"checkpoint {folder}: {FILES[1]} cannot be read ({error}); the file is damaged, choose another checkpoint."
        ) from error
    return tensors, plain

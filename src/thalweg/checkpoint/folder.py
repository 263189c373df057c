"""A checkpoint: one folder with ``tensors.safetensors`` and ``state.json``, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from .whole import sync_directory

__all__ = ["FORMAT", "latest", "load", "save"]

FORMAT = 1
_NAME = re.compile(r"step-(\d+)")


def save(folder: Path, tensors: dict[str, Tensor], plain: dict[str, Any]) -> Path:
    """Write a checkpoint to *folder*, which appears complete or not at all.

    The files are written into a hidden sibling, fsynced, and the sibling is renamed; an older checkpoint of the same
    name is replaced only by a complete new one.

    Args:
        folder: where; its parent is made.
        tensors: by name, on any device; views that share memory are stored apart.
        plain: JSON-able data.
    """
    from safetensors.torch import save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    if hidden.exists():
        shutil.rmtree(hidden)
    hidden.mkdir()
    try:
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(_unshared(stored), hidden / "tensors.safetensors")
        document = {"format": FORMAT, **plain}
        (hidden / "state.json").write_text(json.dumps(document, indent=1, allow_nan=True), encoding="utf-8")
        for name in ("tensors.safetensors", "state.json"):
            with (hidden / name).open("rb") as handle:
                os.fsync(handle.fileno())
        sync_directory(hidden)
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            folder.rename(old)
            hidden.rename(folder)
            shutil.rmtree(old)
        else:
            hidden.rename(folder)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    sync_directory(folder.parent)
    return folder


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Clone tensors that share storage (tied weights), which safetensors refuses to write."""
    seen: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        key = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if key in seen and tensor.numel() else tensor
        seen.add(key)
    return apart


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint.

    Raises:
        ValueError: a file is missing, truncated or of another format; the message names it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in ("state.json", "tensors.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(
                f"checkpoint {folder}: {name} is missing, so this is not a complete checkpoint; choose another one."
            )
    try:
        plain = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"checkpoint {folder}: state.json cannot be read ({error}); the file is damaged, choose another checkpoint."
        ) from error
    found = plain.get("format") if isinstance(plain, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"checkpoint {folder}: format {found!r} was found, this version reads format {FORMAT}; "
            "load it with the Thalweg that wrote it."
        )
    try:
        tensors = load_file(folder / "tensors.safetensors")
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"checkpoint {folder}: tensors.safetensors cannot be read ({error}); the file is damaged, "
            "choose another checkpoint."
        ) from error
    return tensors, plain


def latest(run: Path) -> Path:
    """Return the newest complete checkpoint under *run* (a run directory or a checkpoint itself).

    Raises:
        ValueError: there is none.
    """
    if (run / "state.json").is_file():
        return run
    found: list[tuple[int, Path]] = []
    parent = run / "checkpoints"
    if parent.is_dir():
        for entry in parent.iterdir():
            match = _NAME.fullmatch(entry.name)
            if match and (entry / "state.json").is_file() and (entry / "tensors.safetensors").is_file():
                found.append((int(match[1]), entry))
    if not found:
        raise ValueError(
            f"resume: {run} holds no checkpoint; give a run directory with checkpoints/step-N, or a checkpoint folder."
        )
    return max(found)[1]

"""What a checkpoint consists of: its files with their sums, and a few facts about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .tensor_file import write_hashed

__all__ = ["FILES", "FORMAT", "MANIFEST", "read_manifest", "verify", "write_manifest"]

#: Raised whenever the files change their meaning; 1 had no manifest.
FORMAT = 2
MANIFEST = "manifest.json"
FILES = ("state.json", "tensors.safetensors")


def write_manifest(folder: Path, files: Mapping[str, tuple[int, str]], facts: Mapping[str, Any]) -> None:
    """Write ``manifest.json``: format, bytes and SHA-256 of each file, facts, and the sum of all that."""
    listed = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in files.items()}
    document: dict[str, Any] = {"format": FORMAT, "files": listed, "facts": dict(facts)}
    document["sha256"] = _sum(document)
    write_hashed(folder / MANIFEST, [json.dumps(document, indent=1).encode()])


def _sum(document: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest.

    Raises:
        ValueError: it is missing, cannot be read, does not agree with its own sum, or is of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / FILES[0]).is_file() and (folder / FILES[1]).is_file():
            raise ValueError(
                f"checkpoint {folder}: {MANIFEST} is missing, as it was in format 1; this version reads format "
                f"{FORMAT}; load it with the Thalweg that wrote it, or choose another one."
            )
        raise ValueError(
            f"checkpoint {folder}: {MANIFEST} is missing, so this is not a complete checkpoint; choose another one."
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"checkpoint {folder}: {MANIFEST} cannot be read ({error}); the file is damaged, choose another checkpoint."
        ) from error
    if isinstance(document, dict) and document.get("format") != FORMAT and document.get("sha256") == _sum(document):
        raise ValueError(
            f"checkpoint {folder}: format {document.get('format')!r} was found, this version reads format {FORMAT}; "
            "load it with the Thalweg that wrote it."
        )
    is_whole = isinstance(document, dict) and document.get("sha256") == _sum(document)
    if not is_whole or sorted(document.get("files", ())) != sorted(FILES):
        raise ValueError(
            f"checkpoint {folder}: {MANIFEST} does not agree with its own sum; the file is damaged, choose another "
            "checkpoint."
        )
    return dict(document)


def verify(folder: Path, document: Mapping[str, Any]) -> None:
    """Raise unless every file has the bytes and the sum that the manifest says.

    Raises:
        ValueError: naming the first file that differs, and how.
    """
    for name in FILES:
        path, listed = folder / name, document["files"][name]
        if not path.is_file():
            raise ValueError(
                f"checkpoint {folder}: {name} is missing, so this is not a complete checkpoint; choose another one."
            )
        size = path.stat().st_size
        if size != listed["bytes"]:
            raise ValueError(
                f"checkpoint {folder}: {name} has {size:,} bytes and was written with {listed['bytes']:,}; the file is "
                "damaged, choose another checkpoint."
            )
        with path.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
        if found != listed["sha256"]:
            raise ValueError(
                f"checkpoint {folder}: the SHA-256 of {name} is {found[:12]}… and was {listed['sha256'][:12]}… when it "
                "was written; the file is damaged, choose another checkpoint."
            )

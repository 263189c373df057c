"""Paths, globs, folders and URLs as a list of files, with what each is known by."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from thalweg.errors import did_you_mean

__all__ = ["ENDINGS", "File", "find_files", "format_of"]

WHO = "data.stream"

ENDINGS = {
    ".npy": "npy",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "ipc",
    ".arrows": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
}
"""Ending → format."""

_SAMPLE = 1 << 12
_SAMPLES = 16


@dataclass(frozen=True)
class File:
    """A file, local or behind an fsspec file system.

    Attributes:
        path: what messages call it: the path or URL as given.
        size: bytes.
        stamp: when it was changed, as the file system says it (a time, an ETag), or an empty string.
        system: the fsspec file system, or None where the file is local.
        inner: the path within *system*.
        root: the folder that was given and holds it, or an empty string; hive-style names below it are columns.
    """

    path: str
    size: int
    stamp: str
    system: Any = None
    inner: str = ""
    root: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the file can be mapped into memory."""
        return self.system is None

    def open(self) -> Any:
        """Return the file opened for reading bytes."""
        if self.system is None:
            return open(self.path, "rb", buffering=0)
        return self.system.open(self.inner, "rb")

    @cached_property
    def identity(self) -> str:
        """Name, size, time of change and a digest of up to sixteen places of the content.

        The time is part of it because a change between the places would not be seen otherwise; a copy that keeps the
        times (``cp -p``, ``rsync -t``) is the same file.
        """
        digest = hashlib.blake2b(digest_size=8)
        with self.open() as opened:
            count = min(_SAMPLES, -(-self.size // _SAMPLE))
            for index in range(count):
                opened.seek(0 if count < 2 else (self.size - _SAMPLE) * index // (count - 1))
                digest.update(opened.read(_SAMPLE))
        return f"{Path(self.path).name} {self.size} {self.stamp} {digest.hexdigest()}"


def format_of(path: str) -> str | None:
    """Return the format that the ending of *path* stands for, or None.

    >>> format_of("a/b.Parquet"), format_of("b.txt")
    ('parquet', None)
    """
    return ENDINGS.get(Path(path).suffix.lower())


def find_files(paths: Any) -> list[File]:
    """Return the files behind *paths*, in the order given; those of a folder or a pattern sorted by name.

    Args:
        paths: a path, a pattern (``data/*.npy``), a folder, an fsspec URL (``s3://bucket/part-*.parquet``), or several.

    Raises:
        TypeError: something is no path.
        FileNotFoundError: nothing is there, or no file of a known format.
        ImportError: a URL was given and fsspec is not installed.
    """
    if isinstance(paths, (str, Path)):
        several: Sequence[Any] = [paths]
    elif isinstance(paths, Sequence) and not isinstance(paths, bytes):
        several = paths
    else:
        raise TypeError(
            f"{WHO}: paths is a {type(paths).__name__}, not a path; give a file, a folder, a pattern, a URL or a list "
            "of them (arrays in memory go to the learner directly)."
        )
    found: list[File] = []
    for path in several:
        if not isinstance(path, (str, Path)):
            raise TypeError(
                f"{WHO}: {path!r} among the paths is a {type(path).__name__}; give strings or Path objects."
            )
        found.extend(_remote(path) if isinstance(path, str) and "://" in path else _local(path))
    if not found:
        raise ValueError(f"{WHO}: no paths were given; give at least one file.")
    seen: set[str] = set()
    for file in found:
        if file.path in seen:
            raise ValueError(f"{WHO}: {file.path} is given twice, so that its rows would count double; name it once.")
        seen.add(file.path)
    return found


def _local(given: str | Path) -> list[File]:
    path = Path(given).expanduser()
    if path.is_dir():
        inside = sorted(child for child in path.rglob("*") if child.is_file() and not _is_hidden(child, path))
        known = [child for child in inside if format_of(str(child)) is not None]
        if not known:
            raise FileNotFoundError(
                f"{WHO}: the folder {path} holds {len(inside)} files, none of a known format; known endings: "
                f"{', '.join(ENDINGS)}."
            )
        return [_file(child, str(path)) for child in known]
    if path.is_file():
        return [_file(path)]
    if any(sign in str(given) for sign in "*?["):
        matched = sorted(glob.glob(str(path), recursive=True))
        if matched:
            return [_file(Path(name)) for name in matched if Path(name).is_file()]
        raise FileNotFoundError(f"{WHO}: no file matches {str(given)!r} (now in {Path.cwd()}); check the pattern.")
    near = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    raise FileNotFoundError(
        f"{WHO}: {path} is not there (now in {Path.cwd()}); check the path.{did_you_mean(path.name, near)}"
    )


def _is_hidden(path: Path, root: Path) -> bool:
    """Return whether a part of the path below *root* begins with a dot or an underscore (``_SUCCESS``, ``.crc``)."""
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _file(path: Path, root: str = "") -> File:
    status = path.stat()
    return File(str(path), status.st_size, str(status.st_mtime_ns), root=root)


def _remote(url: str) -> list[File]:
    try:
        import fsspec
    except ImportError:
        raise ImportError(f"{WHO}: reading {url} needs fsspec; install it with thalweg[data].") from None
    system, inner = fsspec.core.url_to_fs(url)
    if any(sign in inner for sign in "*?["):
        names, root = sorted(system.glob(inner)), ""
    elif system.isdir(inner):
        names = sorted(name for name in system.find(inner) if format_of(name) is not None)
        root = inner
    else:
        names, root = ([inner] if system.exists(inner) else []), ""
    if not names:
        raise FileNotFoundError(f"{WHO}: nothing is at {url}; check the URL and what may be read there.")
    return [_remote_file(system, name, root) for name in names]


def _remote_file(system: Any, name: str, root: str) -> File:
    info = system.info(name)
    keys = ("ETag", "etag", "mtime", "LastModified", "last_modified", "created")
    stamp = next((str(info[key]) for key in keys if info.get(key) is not None), "")
    shown = system.unstrip_protocol(name)
    if system.protocol == "file" or "file" in system.protocol:
        return _file(Path(name), root)
    return File(shown, int(info["size"]), stamp, system, name, root)

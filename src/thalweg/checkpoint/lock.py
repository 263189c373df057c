"""One process at a time in a run directory."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import BinaryIO

__all__ = ["RunLock"]


class RunLock:
    """An advisory lock on a run directory that the system takes from a process when it ends, however it ends.

    The file ``lock`` holds the process's number and machine for messages; what counts is the lock on it (``flock``, on
    Windows ``msvcrt.locking``), so that a file left by a killed process locks nobody out.

    Args:
        run: the run directory, which must exist.

    Raises:
        ValueError: another process trains in it, or it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lock = RunLock(Path(folder))
    ...     try:
    ...         RunLock(Path(folder))
    ...     except ValueError as error:
    ...         print("refused" if "is in use" in str(error) else error)
    ...     lock.release()
    ...     sorted(entry.name for entry in Path(folder).iterdir())
    refused
    []
    """

    def __init__(self, run: Path) -> None:
        self.path = run / "lock"
        self._handle: BinaryIO | None = None
        while self._handle is None:
            try:
                handle = os.fdopen(_opened(self.path), "a+b")
            except OSError as error:
                raise ValueError(
                    f"run directory {run}: is read-only, or its lock is no file ({error.strerror}); get the right to "
                    "write there, or work on a copy."
                ) from None
            try:
                _take(handle)
            except OSError:
                handle.seek(0)
                holder = handle.read(200).decode(errors="replace").strip() or "another process"
                handle.close()
                raise ValueError(
                    f"run directory {run}: is in use by {holder}; two processes in one run would spoil it, so wait for "
                    "that one or stop it first."
                ) from None
            # Who held it before may have removed the file between our opening and locking it.
            if _is_still(handle, self.path):
                self._handle = handle
            else:
                handle.close()
        self._handle.truncate(0)
        self._handle.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._handle.flush()

    def release(self) -> None:
        """Let others in; does nothing the second time."""
        if self._handle is None:
            return
        if os.name == "posix":  # an open file cannot be removed elsewhere
            self.path.unlink(missing_ok=True)
        self._handle.close()
        self._handle = None


def _opened(path: Path) -> int:
    """Open without following a link, which would let a run directory write elsewhere."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _take(handle: BinaryIO) -> None:
    if os.name == "posix":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:  # pragma: no cover
        import msvcrt

        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


def _is_still(handle: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False

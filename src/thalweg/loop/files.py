"""The files of a run directory."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn

from thalweg.checkpoint import RunLock, check_links, clear_leftovers, write_text, write_whole

from .history import Array, History, csv_text

__all__ = ["NoDirectory", "RunDirectory", "environment"]

_STEP_COLUMNS = ("step", "epoch", "loss", "smoothed", "grad_norm")


class RunDirectory:
    """A directory that holds one run and is never overwritten.

    Args:
        path: the directory; made if it is not there.
        resume: go on in a directory that already holds a run.

    Raises:
        ValueError: it holds a run already or a link to elsewhere, is a file, or cannot be written.
    """

    def __init__(self, path: Path | str, *, resume: bool = False) -> None:
        self.path = Path(path)
        self._lock: RunLock | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ValueError(
                f"run directory {self.path}: there is a file of that name; choose another name."
            ) from error
        except OSError as error:
            raise ValueError(
                f"run directory {self.path}: cannot be made ({error.strerror}); choose a place you may write to."
            ) from error
        except ValueError as error:  # a null character
            raise ValueError(f"run directory {str(path)!r}: is no name for one ({error}); choose another.") from error
        if not os.access(self.path, os.W_OK):
            raise ValueError(f"run directory {self.path}: is read-only; choose a place you may write to.")
        check_links(self.path)
        held = [name for name in ("history.csv", "checkpoints", "model.safetensors") if (self.path / name).exists()]
        if held and not resume:
            raise ValueError(
                f"run directory {self.path}: already holds a run ({', '.join(held)}), which is never overwritten; "
                "choose another directory, or resume it."
            )

    def lock(self) -> None:
        """Keep other processes out until :meth:`release`, and clear away what a killed one left half-written.

        Raises:
            ValueError: another process trains in this directory.
        """
        self._lock = RunLock(self.path)
        clear_leftovers(self.path)

    def release(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def start(self, plan: dict[str, Any], history: History) -> None:
        """Write plan and environment, and the history so far (none for a new run)."""
        self.write_json("plan.json", plan)
        self.write_json("environment.json", environment())
        columns = history.steps
        text = csv_text(_ordered(columns)) if columns else ""
        write_text(self.path / "history.csv", text)
        self.write_epochs(history)

    def append_steps(self, block: dict[str, Array]) -> None:
        """Append rows to ``history.csv``."""
        path = self.path / "history.csv"
        fresh = not path.exists() or path.stat().st_size == 0
        with path.open("a", encoding="utf-8") as handle:
            handle.write(csv_text(_ordered(block), header=fresh))

    def write_epochs(self, history: History) -> None:
        """Write ``epochs.csv`` and ``events.csv``."""
        rows = history.history
        names = list(rows)
        lines = [",".join(names)]
        for index in range(len(history.epochs)):
            lines.append(",".join(_cell(name, rows[name][index]) for name in names))
        write_text(self.path / "epochs.csv", "\n".join(lines) + "\n")
        if history.events:
            events = ["step,kind,text"] + [f"{s},{_quoted(kind)},{_quoted(text)}" for s, kind, text in history.events]
            write_text(self.path / "events.csv", "\n".join(events) + "\n")

    def write_json(self, name: str, document: Any) -> None:
        """Write a JSON file, whole."""
        write_text(self.path / name, json.dumps(document, indent=2, default=str) + "\n")

    def write_model(self, module: nn.Module) -> None:
        """Write ``model.safetensors``: parameters and buffers by their names."""
        from safetensors.torch import save_file

        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in module.state_dict().items()}
        write_whole(self.path / "model.safetensors", lambda temporary: save_file(tensors, temporary))


class NoDirectory(RunDirectory):
    """The run directory of a process that writes nothing: another one does.

    Args:
        path: the directory that the other one writes.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = None

    def lock(self) -> None:
        """Leave the lock to the one that writes."""

    def start(self, plan: dict[str, Any], history: History) -> None:
        """Write nothing."""

    def append_steps(self, block: dict[str, Array]) -> None:
        """Write nothing."""

    def write_epochs(self, history: History) -> None:
        """Write nothing."""

    def write_json(self, name: str, document: Any) -> None:
        """Write nothing."""

    def write_model(self, module: nn.Module) -> None:
        """Write nothing."""


def _ordered(columns: dict[str, Array]) -> dict[str, Array]:
    names = [name for name in _STEP_COLUMNS if name in columns]
    names += [name for name in columns if name not in names and name != "weight"]
    return {name: columns[name] for name in names}


def _cell(name: str, value: float) -> str:
    return str(int(value)) if name in ("epoch", "step") else f"{value:.9g}"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""').replace("\n", " ") + '"'


def environment() -> dict[str, Any]:
    """Return what the run ran on: versions, platform, threads, device, date."""
    from importlib.metadata import version

    return {
        "thalweg": version("thalweg"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpu_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }

"""A run's values for Weights & Biases, on this machine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from thalweg.checkpoint import write_text

from .history import Array
from .logger import Logger, epoch_values, step_values

__all__ = ["WeightsAndBiases"]


class WeightsAndBiases(Logger):
    """Writes ``wandb/offline-run-…`` in the run directory; nothing leaves the machine until ``wandb sync`` is called.

    A run that is gone on with keeps its id, so that its parts are one run after ``wandb sync --append``.
    """

    package: ClassVar[str] = "wandb"

    def __init__(self) -> None:
        self._run: Any = None

    def open(self, run_dir: Path, step: int, facts: Mapping[str, Any]) -> None:
        import wandb

        quiet = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
        )
        self._run = wandb.init(
            project="thalweg",
            mode="offline",
            dir=str(run_dir),
            id=_id(run_dir / "wandb.json"),
            name=run_dir.name,
            config=dict(facts),
            settings=quiet,
        )
        self._run.define_metric("step")
        self._run.define_metric(
            "*", step_metric="step"
        )  # W&B's own count of calls may only grow; a rollback's does not

    def steps(self, block: Mapping[str, Array]) -> None:
        for step, values in step_values(block):
            self._run.log({"step": step, **values})

    def epoch(self, row: Mapping[str, float]) -> None:
        step, values = epoch_values(row)
        self._run.log({"step": step, **values})

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


def _id(path: Path) -> str:
    """Return the id of the run, which is made when it begins and kept beside its other files."""
    if path.is_file():
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"wandb: {path} cannot be read ({error}); remove it to go on under a new id, or leave the logger out."
            ) from error
    made = uuid.uuid4().hex[:16]
    write_text(path, json.dumps({"id": made}) + "\n")
    return made

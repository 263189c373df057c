"""Where a run's values go besides its own files."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from .history import Array

__all__ = ["Logger", "epoch_values", "step_values"]

_POSITION = ("step", "epoch")


class Logger(ABC):
    """Takes the rows that a flush brings to the host, after they are in the history; a step calls nothing here.

    Attributes:
        package: what must be installed.
    """

    package: ClassVar[str]

    @abstractmethod
    def open(self, run_dir: Path, step: int, facts: Mapping[str, Any]) -> None:
        """Begin in *run_dir*, after *step* updates (more than 0 where a run is gone on with)."""

    @abstractmethod
    def steps(self, block: Mapping[str, Array]) -> None:
        """Take the columns of some updates, each of shape **(T,)**."""

    @abstractmethod
    def epoch(self, row: Mapping[str, float]) -> None:
        """Take an epoch's row."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left."""


def step_values(block: Mapping[str, Array]) -> list[tuple[int, dict[str, float]]]:
    """Return (step, tag → value) of each update; rates that were not there to record are left out, NaN losses are not.

    >>> import numpy as np
    >>> step_values({"step": np.array([7.0]), "loss": np.array([0.5]), "momentum": np.array([np.nan])})
    [(7, {'train/loss': 0.5})]
    """
    columns = {f"train/{name}": values.tolist() for name, values in block.items() if name not in _POSITION}
    rates = tuple(tag for tag in columns if tag.startswith(("train/lr", "train/momentum")))
    return [
        (
            int(step),
            {tag: values[index] for tag, values in columns.items() if not (tag in rates and math.isnan(values[index]))},
        )
        for index, step in enumerate(block["step"].tolist())
    ]


def epoch_values(row: Mapping[str, float]) -> tuple[int, dict[str, float]]:
    """Return (step, tag → value) of an epoch's row.

    >>> epoch_values({"epoch": 1, "step": 20, "loss": 0.5, "val_loss": 0.25, "seconds": 1.0})
    (20, {'epoch/loss': 0.5, 'epoch/val_loss': 0.25, 'epoch/seconds': 1.0})
    """
    return int(row["step"]), {f"epoch/{name}": value for name, value in row.items() if name not in _POSITION}

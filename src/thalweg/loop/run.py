"""The state of one training while it goes on; what hooks see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from thalweg.data import Source
from thalweg.objective import Objective
from thalweg.schedule import TorchDriver

from .guard import Guard
from .history import History
from .logger import Logger
from .precision import Precision
from .processes import Processes
from .rates import Rates
from .recorder import Recorder
from .settings import Settings
from .watch import Watch

if TYPE_CHECKING:
    from .files import RunDirectory
    from .step import EagerStep

__all__ = ["Run"]


@dataclass
class Run:
    """One training: its parts, and how far it has come.

    Attributes:
        module: the plain module (``objective.model`` may be its compiled form).
        step: updates made.
        epoch: epochs finished.
        batch: batches of the present epoch already used.
        window: the batch that the present update began with.
        best: the best value so far of the column whose best checkpoint is kept.
        is_changed: whether settings differ from those of the checkpoint it began at.
        processes: all that train this model together, or None for this one alone.
        wish: why this process wants an end, until all have agreed to it.
        watch: what the guard has seen.
        loggers: what else gets the values that are brought to the host.
        pending: rows of finished epochs whose losses have not been brought to the host.
        stop_reason: why training ends early, or an empty string.
    """

    module: nn.Module
    objective: Objective
    valid_objective: Objective
    optimizer: torch.optim.Optimizer
    source: Source
    rates: Rates
    stepper: EagerStep
    precision: Precision
    settings: Settings
    history: History
    recorder: Recorder
    valid: Source | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    hooks: Sequence[Any] = ()  # of Hook, which stands above because it speaks of Run
    directory: RunDirectory | None = None
    total_steps: int | None = None
    before_evaluation: Callable[[], AbstractContextManager[None]] | None = None
    driver: TorchDriver | None = None
    seed: int = 0
    step: int = 0
    epoch: int = 0
    batch: int = 0
    window: int = 0
    best: float | None = None
    is_changed: bool = False
    processes: Processes | None = None
    wish: str = ""
    watch: Watch = field(default_factory=lambda: Watch(Guard()))
    epoch_sum: float = 0.0
    epoch_weight: float = 0.0
    loggers: Sequence[Logger] = ()
    pending: list[dict[str, float]] = field(default_factory=list)
    stop_reason: str = ""

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.module.parameters()).device

    @property
    def is_watched(self) -> bool:
        """Whether anyone looks at an epoch's row as soon as it is over; otherwise it may wait for the next flush."""
        by_epoch = self.driver is not None and self.driver.every == "epoch"
        return bool(
            self.settings.verbose or self.hooks or self.valid or self.directory or by_epoch or self.rates.is_controlled
        )

    def stop(self, reason: str) -> None:
        """Ask for an end after the present step."""
        if self.processes is None:
            self.stop_reason = self.stop_reason or reason
        self.wish = self.wish or reason

    def agree(self) -> None:
        """Let all processes end after the same step, where one of them wants to; all of them must ask."""
        if self.processes is not None and not self.stop_reason and self.processes.any(bool(self.wish)):
            self.stop_reason = self.wish or "another process was asked to stop"

    def call(self, place: str, *args: Any) -> None:
        """Call every hook at *place*."""
        for hook in self.hooks:
            getattr(hook, place)(self, *args)

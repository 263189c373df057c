"""What a learner holds, for the modules that it hands over to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from thalweg.loop import GroupRow, History, LayerGroup
from thalweg.loss import Loss, Penalty
from thalweg.optim import Rule

__all__ = ["Held"]


class Held(Protocol):
    """The learner as its own modules see it: they cannot import it, because it imports them."""

    module: nn.Module
    model: Any
    optimizer: torch.optim.Optimizer
    rule: Rule | None
    loss: Loss
    penalty: Penalty | None
    metrics: Sequence[Any] | Mapping[str, Any]
    schedule: Any
    precision: str
    device: torch.device
    step: str
    head: str
    clip_norm: float | None
    clip_value: float | None
    group_rows: list[GroupRow]
    layers: list[LayerGroup] | None
    bases: list[dict[str, Any]]
    seed: int | None
    _no_decay: str | Sequence[str] | None
    _overrides: Mapping[str, Mapping[str, Any]] | None
    history: History
    fits: int
    statistics: dict[str, Tensor]

    # Methods that these modules provide call each other through the learner; their signatures stand where they are
    # written, and a protocol that repeated them would be a second copy.
    @property
    def fit(self) -> Callable[..., History]:
        """:meth:`Learner.fit`."""

    @property
    def fit_one_cycle(self) -> Callable[..., History]:
        """:meth:`Learner.fit_one_cycle`."""

    @property
    def freeze(self) -> Callable[..., None]:
        """:meth:`Learner.freeze`."""

    @property
    def unfreeze(self) -> Callable[..., None]:
        """:meth:`Learner.unfreeze`."""

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Build the optimizer anew from the settings."""

    def _fit_seed(self) -> int | None:
        """Return the seed of the next fit."""

    @property
    def metric_names(self) -> list[str]:
        """The metrics' names as they stand in the history."""

    def make_metrics(self, output: Any, target: Any, loss: Loss | None = None) -> dict[str, Any]:
        """Return metrics made for an example batch."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Hold the weights that evaluation should use."""

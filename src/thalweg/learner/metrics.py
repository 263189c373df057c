"""The learner's metrics: names and objects made for its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from thalweg import metric
from thalweg.loss import Loss

__all__ = ["make_metrics", "metric_names"]

Metrics = Sequence[Any] | Mapping[str, Any]


def metric_names(metrics: Metrics) -> list[str]:
    """Return the names under which metrics stand in the history.

    Raises:
        TypeError: one string where a list of names was meant.
    """
    if isinstance(metrics, str):
        raise TypeError(f"Learner: metrics={metrics!r} is one string; pass a list, metrics=[{metrics!r}].")
    return list(metrics) if isinstance(metrics, Mapping) else [metric.name_of(item) for item in metrics]


def make_metrics(metrics: Metrics, output: Any, target: Any, loss: Loss, device: torch.device) -> dict[str, Any]:
    """Return name → torchmetrics object on *device*, its task and classes inferred from an example batch."""
    return {name: made.to(device) for name, made in metric.make_all(metrics, output, target, loss).items()}

"""The learner's metrics: names and objects made for its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from thalweg.loss import Loss

__all__ = ["make_metrics", "metric_names"]


def metric_names(metrics: Sequence[Any]) -> list[str]:
    """Return the names under which metrics stand in the history.

    Raises:
        TypeError: one string where a list of names was meant.
    """
    from thalweg import metric

    if isinstance(metrics, str):
        raise TypeError(f"Learner: metrics={metrics!r} is one string; pass a list, metrics=[{metrics!r}].")
    return [metric.name_of(item) for item in metrics]


def make_metrics(metrics: Sequence[Any], output: Any, target: Any, loss: Loss, device: torch.device) -> dict[str, Any]:
    """Return name → torchmetrics object on *device*, its task and classes inferred from an example batch."""
    from thalweg import metric

    made = {}
    for name, item in zip(metric_names(metrics), metrics, strict=True):
        made[name] = metric.make(item, output, target, loss).to(device)
    return made

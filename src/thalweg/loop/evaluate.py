"""Loss and metrics over a data set, and predictions; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from thalweg import metric
from thalweg.data import Source, split
from thalweg.data.ranked import rows_in
from thalweg.objective import Objective

from .precision import Precision
from .processes import Processes

__all__ = ["eval_mode", "evaluate", "predict"]


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and each back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def evaluate(
    objective: Objective,
    source: Source,
    metrics: Mapping[str, Any],
    precision: Precision,
    epoch: int = 0,
    processes: Processes | None = None,
) -> dict[str, float]:
    """Return the loss (sum over weight, penalty included) and every metric over *source*, in evaluation mode.

    The host waits for the device once, at the end. With *processes*, *source* is this one's share, and losses and
    metrics are those of all shares together.
    """
    total: Tensor | None = None
    weight: Tensor | float = 0
    for held in metrics.values():
        held.reset()
        held.sync_on_compute = processes is not None  # torchmetrics would otherwise wait for processes that do not come
    with eval_mode(objective.model):
        for batch in source.batches(epoch):
            if processes is not None and not rows_in(batch):
                continue
            parts = split(batch)
            with precision.context():
                batch_sum, batch_weight, output = objective.eager(parts)
            batch_sum = batch_sum.double() if batch_sum.device.type != "mps" else batch_sum
            total = batch_sum if total is None else total + batch_sum
            weight = weight + batch_weight
            if metrics:
                metric.update_all(metrics, objective.loss, output, parts.target)
    seen: Any = total is not None
    if processes is not None:  # all of them get here, also one that has had no row
        total, weight, seen = processes.total([0.0 if total is None else total, weight, float(seen)]).unbind()
    if not seen or total is None:
        raise ValueError("evaluate: the data gave no batch, so there is nothing to evaluate; pass at least one sample.")
    loss = float(total) / float(weight) if float(weight) else 0.0
    if objective.penalty_term is not None:
        loss += float(objective.penalty(dict(objective.model.named_parameters())))
    return {"loss": loss, **metric.values(metrics)}


@torch.no_grad()
def predict(objective: Objective, source: Source, precision: Precision) -> Any:
    """Return predictions for every row in order, after the loss's activation, on the host's side of nothing.

    Shapes:
        (N, …) for a model that returns (B, …).
    """
    outputs: list[Tensor] = []
    with eval_mode(objective.model):
        for batch in source.batches(0):
            parts = split(batch)
            with precision.context():
                output = objective.output(parts)
            outputs.append(objective.loss.predict(output))
    if not outputs:
        raise ValueError("predict: the data gave no batch, so there is nothing to predict; pass at least one sample.")
    return torch.cat(outputs)

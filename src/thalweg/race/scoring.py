"""The validation losses of members on a leading dimension."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..data import split
from ..engine.stacked_forward import StackedForward, VmapForward
from ..engine.stacked_totals import totals
from ..loop import eval_mode
from .entry import Entry
from .lane import Losses

__all__ = ["stacked_scores"]


@torch.no_grad()
def stacked_scores(
    entry: Entry, forward: StackedForward, params: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
) -> Losses:
    """Return each member's sum / weight over the validation data plus its penalty, **(K,)**.

    Args:
        entry: with validation data.
        forward: how outputs are computed.
        params, buffers: by name, **(K, …)** each.
    """
    assert entry.valid is not None
    count = len(next(iter(params.values())))
    loss, weight = torch.zeros(count, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    with eval_mode(entry.module):
        if isinstance(forward, VmapForward):
            forward = VmapForward(entry.module, 0)
        for batch in entry.valid.batches(0):
            parts = split(batch)
            output, _ = forward(params, buffers, parts, None)
            total, amount = totals(entry.valid_loss, output, parts, classes_first=forward.classes_first)
            loss += total.to("cpu", torch.float64)
            weight = weight + (amount.to("cpu", torch.float64) if isinstance(amount, Tensor) else amount)
    mean = torch.where(weight > 0, loss / torch.where(weight > 0, weight, 1), 0.0)
    if entry.penalty is not None:
        mean = mean + torch.func.vmap(entry.penalty)(dict(params)).to("cpu", torch.float64)
    found: Losses = mean.numpy()
    return found

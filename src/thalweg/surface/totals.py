"""The loss of many outputs over the same rows, in one go."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..data import Split
from ..loss import ClassLoss, Elementwise, Loss

__all__ = ["totals"]


def totals(loss: Loss, output: Any, parts: Split, *, classes_first: bool = False) -> tuple[Tensor, Tensor | int]:
    """Return the sums, shape **(K,)**, and the weights, **(K,)** or one number for all.

    Args:
        loss: of the rows.
        output: **(K, B, …)**, or **(K, C, B)** with *classes_first*.
        parts: the batch, whose target and row weights all points share.
        classes_first: whether the features stand before the rows.
    """
    target = parts.target
    count = len(output)
    if parts.row_weight is None and isinstance(target, Tensor) and isinstance(output, Tensor):
        if isinstance(loss, ClassLoss) and not target.is_floating_point():
            # A point takes the place of a row, and the rows that of positions: per_row then adds up the rows.
            moved = output if classes_first else output.movedim(2, 1)
            return loss.per_row(moved, target.expand(count, *target.shape))
        if isinstance(loss, Elementwise):
            if classes_first:
                target = target.reshape(len(target), -1).T
            return loss.per_row(output, target.expand(count, *target.shape))
    if classes_first:
        output = output.transpose(1, 2)
    weight: list[Tensor | int] = []

    def one(single: Any) -> Any:
        total, amount = loss(single, target, parts.row_weight)
        if isinstance(amount, int):
            weight.append(amount)
            return total
        return total, amount

    found = torch.func.vmap(one, randomness="error")(output)
    return (found, weight[0]) if weight else (found[0], found[1])

"""The loss of many members' outputs, in one go."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thalweg.data import Split
from thalweg.loss import ClassLoss, Elementwise, Loss

__all__ = ["totals"]


def totals(
    loss: Loss, output: Any, parts: Split, *, classes_first: bool = False, own: bool = False
) -> tuple[Tensor, Tensor | int]:
    """Return the sums, shape **(K,)**, and the weights, **(K,)** or one number for all.

    Args:
        loss: of the rows.
        output: **(K, B, …)**, or **(K, C, B)** with *classes_first*.
        parts: the batch, whose target and row weights all members share.
        classes_first: whether the features stand before the rows.
        own: each member has a batch of its own, so that target and row weights are **(K, B, …)** too.
    """
    target = parts.target
    count = len(output)
    if parts.row_weight is None and isinstance(target, Tensor) and isinstance(output, Tensor):
        if isinstance(loss, ClassLoss) and not target.is_floating_point():
            # A member takes the place of a row, and the rows that of positions: per_row then adds up the rows.
            moved = output if classes_first else output.movedim(2, 1)
            return loss.per_row(moved, target if own else target.expand(count, *target.shape))
        if isinstance(loss, Elementwise):
            if classes_first:
                target = target.reshape(*target.shape[: 1 + own], -1).transpose(-1, -2)
            return loss.per_row(output, target if own else target.expand(count, *target.shape))
    if classes_first:
        output = output.transpose(1, 2)
    weight: list[Tensor | int] = []

    def one(single: Any, wanted: Any, rows: Tensor | None) -> Any:
        total, amount = loss(single, wanted, rows)
        if isinstance(amount, int):
            weight.append(amount)
            return total
        return total, amount

    place = 0 if own else None
    rows = parts.row_weight
    dims = (0, place, None if rows is None else place)
    found = torch.func.vmap(one, in_dims=dims, randomness="error")(output, target, rows)
    return (found, weight[0]) if weight else (found[0], found[1])

"""What to do when an accelerator's memory does not hold a micro-batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from thalweg.data.ranked import rows_in
from thalweg.loss import Loss

__all__ = ["check_can_halve", "may_run_out", "pieces_of"]


def may_run_out(device: torch.device) -> bool:
    """Whether memory that is too small is an error that can be gone on after; on the CPU the system decides."""
    return device.type != "cpu"


def pieces_of(batch: Any, pieces: int) -> list[Any]:
    """Return the batch cut by rows into so many pieces, none empty; views, not copies.

    >>> [x.tolist() for x, _ in pieces_of((torch.arange(5), torch.zeros(5)), 2)]
    [[0, 1, 2], [3, 4]]
    """
    rows = rows_in(batch)
    size = max(1, -(-rows // pieces))

    def cut(start: int) -> Any:
        return tree_map(
            lambda leaf: leaf[start : start + size] if _has(leaf, rows) else leaf,
            batch,
        )

    return [cut(start) for start in range(0, rows, size)] or [batch]


def _has(leaf: Any, rows: int) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == rows


def check_can_halve(model: nn.Module, loss: Loss, rows: int, pieces: int) -> None:
    """Raise unless halves give the gradient of the whole.

    Raises:
        torch.OutOfMemoryError: the model takes statistics of its batch, the loss does not add up from parts, or a piece
            is one row already; saying which, and what to do.
    """
    norms = [
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training
    ]
    size = -(-rows // pieces)
    reason = ""
    if norms:
        reason = f"{norms[0]} takes statistics of its whole batch, so that halves would train another model"
    elif not loss.splittable:
        reason = f"{type(loss).__name__} does not add up from parts of a batch"
    elif size < 2:
        reason = "less than one row cannot be taken"
    if reason:
        raise torch.OutOfMemoryError(
            f"fit: out of memory with micro-batches of {size} rows, and {reason}; lower batch_size "
            "(accumulate=… keeps the rows of an update), or take precision='bf16'."
        )

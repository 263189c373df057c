"""The eager step of one of several processes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map

from thalweg.data import Source, split
from thalweg.data.ranked import rows_in
from thalweg.objective import Objective

from .backward import backward
from .precision import Precision
from .processes import Processes
from .step import EagerStep

__all__ = ["RankStep"]


class _Loss(nn.Module):
    """Model and loss as one module, so that DDP sees the backward pass that it exchanges gradients in."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.model = objective.model
        self._objective = objective

    def forward(self, parts: Any) -> tuple[Tensor, Tensor | int]:
        total, weight, _ = self._objective.eager(parts)
        return total, weight


class RankStep(EagerStep):
    r"""The gradient of :math:`\sum_r \sum_i \ell_{ri} / \sum_r \sum_i a_{ri}` over ranks r and their rows i.

    A single micro-batch goes through ``DistributedDataParallel``, which exchanges gradients while the backward pass
    still runs; several are exchanged once, when they are complete. DDP's mean over ranks is undone: what divides is the
    weight of all ranks together, so that ranks with fewer rows or tokens count as what they hold. Every rank then holds
    the same gradient, norm and loss, and makes the same update.

    Args:
        objective, optimizer, precision, clip_norm, clip_value: as for :class:`EagerStep`.
        processes: the others.
        source: of this rank; its first row stands in where a rank has none, with the weight 0.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        *,
        processes: Processes,
        source: Source,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(objective, optimizer, precision, clip_norm=clip_norm, clip_value=clip_value)
        self._processes = processes
        self._scale = float(source.batch_size or 1)
        self._spare = _first_row(source)
        whole = _Loss(objective)
        cuda = processes.device.type == "cuda"
        self._ddp = DistributedDataParallel(whole, device_ids=[processes.device.index] if cuda else None)
        self._windows = 1

    def micro(self, batch: Any, windows: int = 1) -> None:
        is_empty = rows_in(batch) == 0
        parts = split(self._spare if is_empty else batch)
        if self.latch is not None and self.loss is None:
            self.latch.before()
        self._windows = windows
        alone = windows == 1
        with nullcontext() if alone else self._ddp.no_sync():
            with nullcontext() if self._plain else self.precision.context():
                total, weight = self._ddp(parts)
            if is_empty:
                total, weight = total * 0, 0
            self.weight = weight if self.loss is None else self.weight + weight
            self.loss = total.detach() if self.loss is None else self.loss + total.detach()
            # DDP divides by the number of ranks; the weight of all ranks divides instead, in `update`.
            self._divisor = self._scale * windows
            factor = (self._processes.world_size if alone else 1) / self._divisor
            if self.precision.scaler is not None:
                total = self.precision.scaler.scale(total)
            backward(total, torch.full((), factor, dtype=total.dtype, device=total.device))

    def update(self) -> bool:
        assert self.loss is not None, "an update follows at least one micro-batch"
        if self._windows > 1:
            grads = [param.grad for param in self._params if param.grad is not None]
            self._processes.add_up(grads)
        self.loss, self.weight = self._processes.total([self.loss, self.weight]).unbind()
        return super().update()


def _first_row(source: Source) -> Any:
    batch = source.first()
    rows = rows_in(batch)
    return tree_map(
        lambda leaf: leaf[:1] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == rows else leaf, batch
    )

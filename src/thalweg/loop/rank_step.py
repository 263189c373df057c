"""The eager step of one of several processes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves, tree_map

from thalweg.data import Source, split
from thalweg.data.ranked import rows_in
from thalweg.objective import Objective

from .backward import backward
from .out_of_memory import may_run_out
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

    A process whose memory does not hold a micro-batch halves it for itself, which the others need not know of as long
    as gradients are exchanged afterwards. On an accelerator they are, until a batch of these shapes has gone through
    with the optimizer's state in memory: within DDP's backward pass the others would wait for a process that failed.

    Args:
        objective, optimizer, precision, clip_norm, clip_value, record_norm: as for :class:`EagerStep`.
        processes: the others.
        source: of this rank; its first rows (two: batch statistics need as many) stand in where a rank has
            none, with the weight 0.
        overlap: exchange gradients during the backward pass where that can be; otherwise always after it.
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
        record_norm: bool = True,
        overlap: bool = True,
    ) -> None:
        super().__init__(
            objective, optimizer, precision, clip_norm=clip_norm, clip_value=clip_value, record_norm=record_norm
        )
        self._processes = processes
        self._scale = float(source.batch_size or 1)
        self._spare = _first_rows(source)
        self._buffers = list(objective.model.buffers())
        self._ddp: DistributedDataParallel | None = None
        if overlap:
            cuda = processes.device.type == "cuda"
            device_ids = [processes.device.index] if cuda else None
            self._ddp = DistributedDataParallel(_Loss(objective), device_ids=device_ids)
        self._begins = True  # a window
        self._together = False  # whether gradients of this window are exchanged within the backward pass
        self._windows = 1
        self._updates = 0
        self._careful = may_run_out(processes.device)
        self._held: set[tuple[Any, ...]] = set()  # shapes of batches that memory is known to hold

    def micro(self, batch: Any, windows: int = 1) -> None:
        if self._begins:
            self._begins, self._windows = False, windows
            self._together = self._ddp is not None and windows == 1 and self._is_safe(batch)
            if not self._together:  # DDP's forward pass does it by itself
                self.align()
        if self._together:
            self._add(batch, 1)
            return
        self._attempt(batch, windows)
        if self._careful and self._updates and self.pieces == 1:
            self._held.add(_shapes(batch))

    def _is_safe(self, batch: Any) -> bool:
        """Whether every process's memory is known to hold its part of a batch; all of them must ask."""
        if not self._careful:
            return True
        return not self._processes.any(self.pieces > 1 or _shapes(batch) not in self._held)

    def _add(self, batch: Any, windows: int) -> None:
        is_empty = rows_in(batch) == 0
        parts = split(self._spare if is_empty else batch)
        if self.latch is not None and self.loss is None:
            self.latch.before()
        with nullcontext() if self._plain else self.precision.context():
            if self._together and self._ddp is not None:
                total, weight = self._ddp(parts)
            else:
                total, weight, _ = self.objective.eager(parts)
        if is_empty:
            total, weight = total * 0, 0
        self.weight = weight if self.loss is None else self.weight + weight
        self.loss = total.detach() if self.loss is None else self.loss + total.detach()
        # The weight of all ranks divides, in `update`; what DDP divides by, the number of ranks, is undone.
        self._divisor = self._scale * self._windows
        factor = (self._processes.world_size if self._together else 1) / self._divisor
        if self.precision.scaler is not None:
            total = self.precision.scaler.scale(total)
        backward(total, torch.full((), factor, dtype=total.dtype, device=total.device))

    def update(self) -> bool:
        assert self.loss is not None, "an update follows at least one micro-batch"
        if self._together:
            self.loss, self.weight = self._processes.total([self.loss, self.weight]).unbind()
        else:
            self._exchange(self.loss, self.weight)
        self._begins = True
        self._updates += 1
        return super().update()

    def _exchange(self, loss: Tensor, weight: Tensor | int) -> None:
        """Add up losses, weights and gradients; a parameter that some ranks did not use counts as zero there."""
        params = [param for param in self._params if param.requires_grad]
        mine = torch.tensor([param.grad is not None for param in params], dtype=torch.float64)
        together = self._processes.total([loss, weight, mine])
        self.loss, self.weight = together[0], together[1]
        used = [param for param, ranks in zip(params, together[2:].tolist(), strict=True) if ranks]
        for param in used:
            if param.grad is None:
                param.grad = torch.zeros_like(param)
        self._processes.add_up([param.grad for param in used if param.grad is not None])

    def align(self) -> None:
        """Give every process the first one's buffers: batch statistics are of its own rows in each."""
        if self._buffers:
            self._processes.copy_first(self._buffers)


def _shapes(batch: Any) -> tuple[Any, ...]:
    return tuple(leaf.shape for leaf in tree_leaves(batch) if isinstance(leaf, Tensor))


def _first_rows(source: Source) -> Any:
    batch = source.first()
    rows = rows_in(batch)
    return tree_map(
        lambda leaf: leaf[:2] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == rows else leaf, batch
    )

"""Parameters on a GPU that one kernel call updates together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.engine.bucket import chunks_of, pointers
from thalweg.engine.scalar_values import scalar_values
from thalweg.engine.trace import Node, Trace, moving_values

__all__ = ["CudaBucket", "CudaPlan", "load_cuda_kernel"]

_THREADS = 512
_NO_CONTRACTION = ["--fmad=false"]


@cache
def load_cuda_kernel(source: str) -> Callable[..., None]:
    """Return the kernel that *source* compiles to, by NVRTC, which needs neither nvcc nor a host compiler."""
    kernel: Callable[..., None] = torch.cuda._compile_kernel(source, "update", nvcc_options=_NO_CONTRACTION)
    return kernel


@dataclass(frozen=True)
class CudaPlan:
    """A kernel and what it must be given.

    Attributes:
        kernel: called with grid, block and arguments.
        trace: the rule's update, for the values that are computed on the host.
        scalars: those values, in the kernel's order.
        names: the tensors of one row of the table.
        kinds: what each state has one of.
        moving: the hyperparameters that are inputs.
    """

    kernel: Callable[..., None]
    trace: Trace
    scalars: tuple[Node, ...]
    names: tuple[str, ...]
    kinds: Mapping[str, str]
    moving: tuple[str, ...]
    whole: bool = False


@dataclass
class CudaBucket:
    """Parameters of one layout. Counters stay on the host, so that no step waits for the device.

    Attributes:
        rows: which of the group's parameters these are.
        shapes: (1, 1, elements) of each.
        held: parameters and states, row by row in the order of the plan, gradients left out.
    """

    plan: CudaPlan
    rows: list[int]
    shapes: list[tuple[int, int, int]]
    held: list[Tensor]
    _grads_at: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        names, count = self.plan.names, len(self.rows)
        self._device = self.held[0].device
        self._table = np.zeros((count, 3 + len(names)), dtype=np.int64)
        self._table[:, :3] = np.asarray(self.shapes, dtype=np.int64).reshape(count, 3)
        others = [i for i in range(3, 3 + len(names)) if i != 4]
        self._table[:, others] = np.asarray(pointers(self.held), dtype=np.int64).reshape(count, -1)
        chunks, _ = chunks_of([elements for _, _, elements in self.shapes])
        self._chunks, self._blocks = torch.from_numpy(chunks).to(self._device), len(chunks)
        self._placed = torch.from_numpy(self._table).to(self._device)
        self._scalars = torch.zeros(count, max(len(self.plan.scalars), 1), dtype=torch.float64, device=self._device)
        per_row = len(names) - 1
        own = [name for name in names if name != "grad"]
        self._counters = [
            {name: self.held[per_row * row + index] for index, name in enumerate(own) if self._is_counter(name)}
            for row in range(count)
        ]
        self._none = torch.ones((), dtype=torch.float64, device=self._device)

    def _is_counter(self, name: str) -> bool:
        return self.plan.kinds.get(name) == "tensor"

    def run(self, grads: Sequence[Tensor], hyper: Mapping[str, Any], scale: Tensor | None, seed: int) -> None:
        """Update these parameters from *grads* in place; *scale* is a 0-dim float64 tensor on the device."""
        given = pointers(grads)
        if given != self._grads_at:
            self._grads_at = given
            self._table[:, 4] = given
            self._placed.copy_(torch.from_numpy(self._table), non_blocking=True)
        self._count(hyper)
        if self._blocks:
            signed = seed - 2**32 if seed >= 2**31 else seed  # the launcher passes integers as C ints
            factor = self._none if scale is None else scale
            arguments = [self._placed, self._chunks, self._scalars, factor, int(scale is not None), signed]
            self.plan.kernel(grid=(self._blocks, 1, 1), block=(_THREADS, 1, 1), args=arguments)

    def _count(self, hyper: Mapping[str, Any]) -> None:
        """Compute every tensor's scalars, once for equal counters, and write the new counters."""
        trace, plan = self.plan.trace, self.plan
        moving = [float(value) for value in moving_values(plan.moving, hyper)]
        fixed = {id(trace.inputs[f"hyper/{name}"]): value for name, value in zip(plan.moving, moving, strict=True)}
        written = {n: node for n, node in trace.outputs.items() if node.kind == "tensor"}
        known: dict[tuple[float, ...], list[float]] = {}
        table = np.zeros(tuple(self._scalars.shape))
        for row, counters in enumerate(self._counters):
            key = tuple(float(counter.numpy()) for counter in counters.values())
            if key not in known:
                own = {id(trace.inputs[name]): value for name, value in zip(counters, key, strict=True)}
                known[key] = scalar_values([*plan.scalars, *written.values()], {**fixed, **own})
            values = known[key]
            table[row, : len(plan.scalars)] = values[: len(plan.scalars)]
            for name, value in zip(written, values[len(plan.scalars) :], strict=True):
                counters[name].numpy()[...] = value
        self._scalars.copy_(torch.from_numpy(table), non_blocking=True)

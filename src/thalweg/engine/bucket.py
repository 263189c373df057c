"""Tensors that one kernel call updates together, and the table of pointers through which it sees them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.engine.trace import moving_values

__all__ = ["CHUNK", "Bucket", "Plan", "address", "chunks_of", "pointers"]

#: Elements of one piece of work, which one thread takes at a time: 64 KiB of float32.
CHUNK = 16_384

Function = Callable[..., None]


def pointers(tensors: Sequence[Tensor]) -> list[int]:
    """Return the addresses of the tensors' first elements."""
    return list(map(Tensor.data_ptr, tensors))


def chunks_of(sizes: Sequence[int]) -> tuple[Any, Any]:
    """Return (tensor, start, stop) rows of at most ``CHUNK`` elements, and where each piece of work begins among them.

    Large tensors are cut; small ones are gathered until a piece is worth a thread's while. Both depend on the sizes
    alone, so that sums over pieces do not depend on the number of threads.

    >>> rows, bounds = chunks_of([20_000, 3, 4])
    >>> rows.tolist(), bounds.tolist()
    ([[0, 0, 16384], [0, 16384, 20000], [1, 0, 3], [2, 0, 4]], [0, 1, 4])
    """
    rows: list[tuple[int, int, int]] = []
    bounds, held = [0], 0
    for index, size in enumerate(sizes):
        for start in range(0, size, CHUNK):
            stop = min(start + CHUNK, size)
            rows.append((index, start, stop))
            held += stop - start
            if held >= CHUNK:
                bounds.append(len(rows))
                held = 0
    if bounds[-1] != len(rows):
        bounds.append(len(rows))
    return np.asarray(rows, dtype=np.int64).reshape(-1, 3), np.asarray(bounds, dtype=np.int64)


@dataclass(frozen=True)
class Plan:
    """A kernel and what it must be given.

    Attributes:
        function: the C function.
        names: the tensors of one row, ``"param"``, ``"grad"`` and the states, in the order of the table.
        kinds: what each state has one of: per element, row, column or tensor.
        moving: the hyperparameters, in the order in which they are given.
        scalars: doubles that the kernel keeps per tensor, or per thread where it treats a tensor as a whole.
        whole: whether a tensor is one piece of work (its statistics are taken over all of it).
        row_scratch, column_scratch: for a whole tensor, doubles kept per row and per column.
    """

    function: Function
    names: tuple[str, ...]
    kinds: Mapping[str, str]
    moving: tuple[str, ...]
    scalars: int
    whole: bool = False
    row_scratch: int = 0
    column_scratch: int = 0


def address(array: Any) -> int:
    """Return where a numpy array lies."""
    place: int = array.__array_interface__["data"][0]
    return place


@dataclass
class Bucket:
    """Parameters of one layout, with the pointers of the last call.

    Attributes:
        rows: which of the group's parameters these are.
        shapes: (matrices, rows, columns) of each.
        held: parameters and states, row by row in the order of the plan, gradients left out; kept allocated by this.
    """

    plan: Plan
    rows: list[int]
    shapes: list[tuple[int, int, int]]
    held: list[Tensor]

    def __post_init__(self) -> None:
        count, names = len(self.rows), self.plan.names
        self._table = np.zeros((count, 3 + len(names)), dtype=np.int64)
        self._table[:, :3] = np.asarray(self.shapes, dtype=np.int64).reshape(count, 3)
        sizes = [matrices * rows * columns for matrices, rows, columns in self.shapes]
        if self.plan.whole:
            order = sorted(range(count), key=lambda i: -sizes[i])  # the longest first, so that none is left for the end
            self._chunks, self._bounds = np.asarray(order, dtype=np.int64), np.zeros(1, dtype=np.int64)
            self._items = count
            plan = self.plan
            lengths = [m * (plan.scalars + plan.row_scratch * r + plan.column_scratch * c) for m, r, c in self.shapes]
            self._per_thread = max(lengths, default=0)
        else:
            self._chunks, self._bounds = chunks_of(sizes)
            self._items = len(self._bounds) - 1
            self._per_thread = 0
        self._many = sum(sizes) > 2 * CHUNK
        self._scratch = np.zeros(0)
        self._hyper = (ctypes.c_double * max(len(self.plan.moving), 1))()
        others = [i for i in range(3, 3 + len(names)) if i != 4]
        self._table[:, others] = np.asarray(pointers(self.held), dtype=np.int64).reshape(count, -1)

    def run(self, grads: Any, hyper: Mapping[str, Any], scale: Tensor | None, skip: Tensor | None, seed: int) -> None:
        """Update these parameters in place from gradients at the addresses *grads*, an int64 array **(n,)**."""
        self._table[:, 4] = grads
        for index, value in enumerate(moving_values(self.plan.moving, hyper)):
            # Through numpy: a tensor on the host is read without torch's .item(), which graphs and counters look for.
            self._hyper[index] = value if type(value) is float else float(_plain(value))
        threads = torch.get_num_threads() if self._many else 1
        needed = self._per_thread * threads if self.plan.whole else self.plan.scalars * len(self.rows)
        if self._scratch.size < needed:
            self._scratch = np.zeros(needed)
        self.plan.function(
            address(self._table),
            len(self.rows),
            address(self._chunks),
            address(self._bounds),
            self._items,
            self._hyper,
            None if scale is None else scale.data_ptr(),
            None if skip is None else skip.data_ptr(),
            address(self._scratch),
            seed,
            threads,
            self._per_thread,
        )


def _plain(value: Any) -> Any:
    return value.detach().numpy() if isinstance(value, Tensor) else value

"""Blocks of rows that stay in a fast memory while one operation after the other goes over them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["blocks"]

# What the elementwise work on a chunk takes at a time. On a CPU it stays within a core's second-level cache; on an
# accelerator fewer launches count for more.
_CPU_BLOCK_BYTES = 2**20
_DEVICE_BLOCK_BYTES = 32 * 2**20


def blocks(chunk: Tensor) -> Iterator[slice]:
    """Yield slices of the rows of *chunk* (R, V) small enough for the elementwise work on them.

    >>> [(part.start, part.stop) for part in blocks(torch.empty(5, 2**18 * torch.get_num_threads()))]
    [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    """
    count, classes = chunk.shape
    cpu = chunk.device.type == "cpu"
    room = _CPU_BLOCK_BYTES * torch.get_num_threads() if cpu else _DEVICE_BLOCK_BYTES
    size = max(1, room // max(1, classes * chunk.element_size()))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))

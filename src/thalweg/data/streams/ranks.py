"""Which of several processes this one is."""

from __future__ import annotations

import os

import torch

__all__ = ["share_of"]


def share_of(rank: int | None, world_size: int | None, batch_size: int) -> tuple[int, int]:
    """Return (rank, world size): as given, else of ``torch.distributed``, else of ``torchrun``, else (0, 1).

    Raises:
        ValueError: one of the two is missing, they do not fit each other, or a batch has fewer rows than ranks.

    >>> share_of(None, None, 64), share_of(1, 4, 64)
    ((0, 1), (1, 4))
    """
    if (rank is None) != (world_size is None):
        raise ValueError(
            f"data.stream: rank={rank} and world_size={world_size}, but one says nothing without the other; give both, "
            "or neither under torchrun."
        )
    if rank is None or world_size is None:
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            rank, world_size = distributed.get_rank(), distributed.get_world_size()
        else:
            rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if not 0 <= rank < world_size:
        raise ValueError(f"data.stream: rank={rank} must be in 0 … world_size − 1 = {world_size - 1}; count from 0.")
    if batch_size < world_size:
        raise ValueError(
            f"data.stream: batch_size={batch_size} counts the rows of all ranks together, and there are {world_size}; "
            "give every rank at least one row."
        )
    return rank, world_size

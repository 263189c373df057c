"""A fit's own stream of random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from thalweg.checkpoint import restore_rng, snapshot_rng

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int | None) -> Iterator[int]:
    """Yield the seed of the data order; with a *seed*, torch's generators start from it and are put back afterwards.

    Without one the seed is drawn from torch's global generator, so ``torch.manual_seed`` governs everything.
    """
    if seed is None:
        yield int(torch.randint(1 << 62, ()))
        return
    before = snapshot_rng()
    torch.manual_seed(seed)
    try:
        yield seed
    finally:
        restore_rng(*before)

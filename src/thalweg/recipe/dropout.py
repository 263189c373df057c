"""Where a run's dropout takes its masks from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from thalweg.loop import Hook
from thalweg.race import CounterMasks

from .recipe import Recipe

__all__ = ["dropout_hooks"]


@contextmanager
def dropout_hooks(recipe: Recipe) -> Iterator[list[Hook]]:
    """Hold what ``train.dropout`` asks for, and yield the hooks that fit needs for it.

    ``"torch"`` draws from torch's generator. ``"counter"`` computes masks of seed, update and layer, as a race does, so
    that a race's winner is trained again bit by bit as it was.
    """
    if recipe.train.dropout == "torch":
        yield []
        return
    with CounterMasks(recipe.train.seed) as masks:
        yield [masks]

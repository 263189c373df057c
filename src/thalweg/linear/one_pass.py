"""One pass over all rows: checked block by block, shared among threads, shown while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

from thalweg.draw import Bar

from .blocks import Array, Blocks, StreamBlocks, check_block, name_bad_value
from .workers import Workers

__all__ = ["Sums", "one_pass"]


class Sums(Protocol):
    """What a pass adds rows to: `Moments`, `Triangle`."""

    rows: int
    features: int
    targets: int

    def add(self, X: Array, y: Array, w: Array | None = None, workers: Workers | None = None) -> None:
        """Add rows."""

    def is_finite(self) -> bool:
        """Whether no NaN, infinity or overflow has entered."""


Found = TypeVar("Found", bound=Sums)


def one_pass(who: str, blocks: Blocks, make: Callable[[int, int, int], Found], *, progress: bool) -> Found:
    """Add all blocks to the sums that *make* makes, and return them.

    Args:
        who: who asks, for messages.
        blocks: the rows.
        make: called with features, targets and threads when the first block has arrived.
        progress: whether to show a bar when it takes longer than a second.

    Raises:
        ValueError: no rows, blocks of different shapes, a NaN or infinity (with its row and column), only weights 0.
    """
    sums: Found | None = None
    names = getattr(blocks, "feature_names", None)
    offset = 0
    with torch.no_grad(), Workers() as workers, Bar(who, progress, unit="rows/s") as bar:
        bar.total = getattr(blocks, "n", None)
        for given in blocks.blocks():
            features, targets = (None, None) if sums is None else (sums.features, sums.targets)
            block = check_block(who, given, features, targets, offset)
            X, y, w = block
            if sums is None:
                sums = make(X.shape[1], y.shape[1], workers.count)
            sums.add(X, y, w, workers)
            if not sums.is_finite():
                if isinstance(blocks, StreamBlocks):
                    blocks.check_values()
                name_bad_value(who, block, names, offset)
                raise ValueError(
                    f"{who}: between rows {offset} and {offset + len(X)} a sum of products overflowed, so that values "
                    "must be very large (in float32 beyond 1e19); scale the column down, or use precision='high' where "
                    "it is 'fast'."
                )
            offset += len(X)
            bar.add(len(X))
    if sums is None or not offset:
        raise ValueError(
            f"{who}: the stream gave no rows, and a fit needs at least one; look at its paths and filters."
        )
    if not sums.rows:
        raise ValueError(f"{who}: the weight of every one of the {offset} rows is zero, so that no row counts.")
    return sums

"""A seeded part of the data set aside for validation."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.data import Subset

from thalweg.errors import check_number

from .accept import source
from .base import Source
from .map_style import MapStyleSource
from .memory import MemorySource
from .permutation import permutation

__all__ = ["split_fraction", "split_rows"]


def split_rows(n: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the row numbers for training and for validation, each in the order of the data.

    Args:
        n: rows, at least 2.
        fraction: of the rows for validation, in (0, 1); rounded, at least one row on each side.
        seed: of the choice.

    Raises:
        ValueError: *fraction* is outside (0, 1), or there are fewer than two rows.

    >>> train, valid = split_rows(10, 0.2, seed=0)
    >>> len(train), len(valid), sorted([*train.tolist(), *valid.tolist()]) == list(range(10))
    (8, 2, True)
    """
    check_number(
        "data.split_fraction",
        "fraction",
        fraction,
        low=0.0,
        high=1.0,
        low_open=True,
        high_open=True,
        advice="give the part of the rows to validate on, such as 0.2",
    )
    if n < 2:
        raise ValueError(
            f"data.split_fraction: {n} row cannot be split into training and validation; give at least 2 rows."
        )
    count = min(n - 1, max(1, round(n * fraction)))
    # Epochs count from 0, so that this permutation is never the order of one.
    order = permutation(n, seed, epoch=-1)
    return order[count:].sort().values, order[:count].sort().values


def split_fraction(data: Any, fraction: float, seed: int = 0, **settings: Any) -> tuple[Source, Source]:
    """Return (train, valid) sources over a seeded split of the rows.

    The validation rows are drawn at random, not taken from the end, so that sorted data are split fairly; they are
    served in the order of the data, unshuffled and complete.

    Args:
        data: what `source` takes, or a source; data in memory and map-style data sets can be split.
        fraction: of the rows for validation, in (0, 1).
        seed: of the choice of rows.
        **settings: of `source`, for the training part, where *data* is not a source yet.

    Raises:
        ValueError: *fraction* is outside (0, 1), or there are fewer than two rows.
        TypeError: a loader's data cannot be split by row.

    >>> import torch
    >>> train, valid = split_fraction(torch.arange(10.0), 0.2, batch_size=4)
    >>> train.n, valid.n, valid.steps_per_epoch
    (8, 2, 1)
    """
    whole = source(data, **settings)
    if isinstance(whole, MemorySource):
        train_rows, valid_rows = split_rows(whole.n, fraction, seed)
        train = whole.part(train_rows, shuffle=whole.shuffle, drop_last=whole.drop_last)
        return train, whole.part(valid_rows, shuffle=False, drop_last=False)
    if isinstance(whole, MapStyleSource):
        train_rows, valid_rows = split_rows(whole.n, fraction, seed)
        shared: dict[str, Any] = {"batch_size": whole.batch_size, "seed": whole.seed, "device": whole.device}
        return (
            MapStyleSource(
                Subset(whole.dataset, train_rows.tolist()), shuffle=whole.shuffle, drop_last=whole.drop_last, **shared
            ),
            MapStyleSource(Subset(whole.dataset, valid_rows.tolist()), shuffle=False, **shared),
        )
    raise TypeError(
        f"data.split_fraction: fraction={fraction} of a loader was asked for, but a loader forms its batches itself; "
        "split its data set (torch.utils.data.random_split) and pass two loaders."
    )

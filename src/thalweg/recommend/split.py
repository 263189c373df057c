"""Training and test parts of a table of ratings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from thalweg.data.permutation import permutation
from thalweg.errors import check_number

from .ratings import Ratings

__all__ = ["split_folds", "split_fraction", "split_leave_one_out", "split_time"]

Pair = tuple[Ratings, Ratings]


def split_fraction(ratings: Ratings, fraction: float = 0.1, *, seed: int = 0) -> Pair:
    """Return (train, test), *fraction* of the rows drawn at random by *seed* for the test.

    Args:
        ratings: the whole.
        fraction: in (0, 1).
        seed: any integer.

    Raises:
        ValueError: a fraction outside (0, 1), or that leaves a part empty.

    >>> ratings = Ratings.of({"user": [1] * 10, "item": list(range(10)), "rating": [3] * 10})
    >>> [len(part) for part in split_fraction(ratings, 0.2)]
    [8, 2]
    """
    return _cut("split_fraction", ratings, permutation(len(ratings), seed, epoch=0), fraction)


def split_time(ratings: Ratings, fraction: float = 0.1) -> Pair:
    """Return (train, test): the latest *fraction* of all ratings is the test.

    Raises:
        ValueError: the ratings have no times, or as in `split_fraction`.

    >>> table = {"user": [1, 1, 1], "item": [1, 2, 3], "rating": [3, 4, 5], "time": [30, 10, 20]}
    >>> split_time(Ratings.of(table, time="time"), 0.4)[1].values.tolist()
    [3.0]
    """
    order = torch.argsort(_times("split_time", ratings), stable=True)
    return _cut("split_time", ratings, order.flip(0), fraction)


def split_leave_one_out(ratings: Ratings, *, seed: int = 0) -> Pair:
    """Return (train, test): the last rating of each user who has two or more is the test (a random one without times).

    Args:
        ratings: the whole.
        seed: of the draw where there are no times.

    Raises:
        ValueError: no user has two ratings.

    >>> table = {"user": [1, 1, 2], "item": [1, 2, 3], "rating": [3, 4, 5], "time": [30, 10, 20]}
    >>> train, test = split_leave_one_out(Ratings.of(table, time="time"))
    >>> train.values.tolist(), test.values.tolist()
    ([4.0, 5.0], [3.0])
    """
    if ratings.times is not None:
        order = torch.argsort(ratings.times, stable=True)
    else:
        order = permutation(len(ratings), seed, epoch=0)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    users = len(ratings.user_ids)
    latest = torch.full((users,), -1, dtype=torch.long).scatter_reduce_(0, ratings.users, rank, "amax")
    counts = torch.bincount(ratings.users, minlength=users)
    held = order[latest[counts >= 2]]
    if not len(held):
        raise ValueError(
            "split_leave_one_out: no user has two ratings, so that none can be held out; use split_fraction."
        )
    return _parts(ratings, held.sort().values)


def split_folds(ratings: Ratings, folds: int | Sequence[Any] | Tensor = 5, *, seed: int = 0) -> Iterator[Pair]:
    """Yield (train, test) for each fold.

    Args:
        ratings: the whole.
        folds: how many, >= 2, drawn at random by *seed*; or the fold of each row, **(n,)**, given as whole numbers.
        seed: any integer.

    Raises:
        ValueError: fewer than two folds, or not one per row.

    >>> ratings = Ratings.of({"user": [1] * 5, "item": list(range(5)), "rating": [1, 2, 3, 4, 5]})
    >>> [test.values.tolist() for _, test in split_folds(ratings, [0, 0, 1, 1, 1])]
    [[1.0, 2.0], [3.0, 4.0, 5.0]]
    """
    n = len(ratings)
    if isinstance(folds, int):
        check_number("split_folds", "folds", folds, low=2, high=n)
        given = torch.empty(n, dtype=torch.long)
        given[permutation(n, seed, epoch=0)] = torch.arange(n) * folds // n
    else:
        given = torch.as_tensor(folds)
        if given.shape != (n,):
            raise ValueError(
                f"split_folds: folds has the shape {tuple(given.shape)} for {n} ratings; give the fold of each row."
            )
    kinds = torch.tensor(sorted(set(given.tolist())))
    if len(kinds) < 2:
        raise ValueError("split_folds: all rows are of one fold, which leaves nothing to train on; give two or more.")
    for kind in kinds:
        yield _parts(ratings, torch.where(given == kind)[0])


def _times(who: str, ratings: Ratings) -> Tensor:
    if ratings.times is None:
        raise ValueError(f"{who}: the ratings have no times; name their column with time=… when reading them.")
    return ratings.times


def _cut(who: str, ratings: Ratings, order: Tensor, fraction: float) -> Pair:
    check_number(who, "fraction", fraction, low=0.0, low_open=True, high=1.0, high_open=True)
    held = round(len(ratings) * fraction)
    if not 0 < held < len(ratings):
        raise ValueError(
            f"{who}: fraction={fraction} of {len(ratings)} ratings leaves {held} for the test; give one that leaves "
            "both parts some."
        )
    return _parts(ratings, order[:held].sort().values)


def _parts(ratings: Ratings, held: Tensor) -> Pair:
    kept = torch.ones(len(ratings), dtype=torch.bool)
    kept[held] = False
    return ratings.part(torch.where(kept)[0]), ratings.part(held)

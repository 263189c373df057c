"""Files as the data of a recipe: tables, and ``mnist.pkl.gz``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from thalweg import data as datas
from thalweg.data import Table
from thalweg.errors import check_number
from thalweg.loss import Elementwise, Loss

from .parts import Parts

__all__ = ["read_pickle_parts", "read_table_parts", "targets_for"]

Pair = tuple[Tensor, Tensor]


def read_table_parts(
    path: str,
    target: str,
    features: Sequence[str] | None = None,
    valid: float | str = 0.15,
    test: float | str = 0.15,
    standardize: bool = True,
    seed: int = 0,
) -> Parts:
    r"""Return a table as training, validation and test rows.

    With ``standardize`` every feature becomes :math:`(x - m) / s`, m and s the mean and the standard deviation of the
    training rows alone (s = 1 for a feature that never changes).

    Args:
        path: a ``.csv``, ``.tsv`` or ``.parquet`` file.
        target: the column to predict; of text, its sorted values are the classes.
        features: the columns to predict from; None takes all others.
        valid, test: a share of the rows, in [0, 1), drawn by *seed*; or a file with the same columns. 0: none.
        standardize: whether features are shifted and scaled.
        seed: of the rows that are drawn.

    Returns:
        Parts with x **(n, p)** float32 and y **(n,)**: int64 where the column holds whole numbers or texts, else
        float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file or a column cannot be used, shares that leave no row to train on, classes that differ between
            files.
    """
    who = f"data {path}"
    table = datas.read_table(path, target=target, features=features)
    rows = torch.arange(len(table.x))
    held: dict[str, Pair | None] = {}
    for name, given in (("test", test), ("valid", valid)):
        if isinstance(given, str):
            other = datas.read_table(given, target=target, features=list(table.feature_names))
            held[name] = _pair(_same_classes(other, table, given, path))
            continue
        check_number(who, name, given, low=0.0, high=1.0, high_open=True, advice="give a share of the rows, or a file")
        count = round(given * len(table.x))
        order = datas.permutation(len(rows), seed, epoch=-1)
        held[name] = None
        if count:
            x, y = _pair(table)
            chosen, rows = rows[order[:count]].sort().values, rows[order[count:]].sort().values
            held[name] = (x[chosen], y[chosen])
    if not len(rows):
        raise ValueError(
            f"{who}: valid={valid} and test={test} leave none of {len(table.x)} rows to train on; give smaller shares."
        )
    x, y = _pair(table)
    train = (x[rows], y[rows])
    scaling = None
    if standardize:
        mean, deviation = train[0].mean(0), train[0].std(0, correction=0)
        deviation[deviation == 0] = 1.0
        scaling = (mean, deviation)
        train = ((train[0] - mean) / deviation, train[1])
        held = {name: None if pair is None else ((pair[0] - mean) / deviation, pair[1]) for name, pair in held.items()}
    name = Path(path).name
    return Parts(name, train, held["valid"], held["test"], table.classes, table.feature_names, None, scaling)


def _same_classes(other: Table, table: Table, path: str, first: str) -> Table:
    if other.classes != table.classes:
        raise ValueError(
            f"data {path}: column {table.target!r} has the classes {', '.join(other.classes) or 'none'}, but "
            f"{first} has {', '.join(table.classes) or 'none'}, so that their numbers would not mean the same; use "
            "files with the same classes, or one file with shares."
        )
    return other


def _pair(table: Table) -> Pair:
    """Return (x, y), the features as float32."""
    assert table.y is not None, "a target was asked for"
    return table.x.float(), table.y.float() if table.y.is_floating_point() else table.y.long()


def targets_for(parts: Parts, loss: Loss) -> Parts:
    """Return a table's parts with targets as the loss needs them.

    Where it compares numbers (``mse``, ``binary_cross_entropy``) they become a column of float32, **(n, 1)**, like the
    output of a model; elsewhere they stay what they are.
    """
    if not isinstance(loss, Elementwise) and not parts.train[1].is_floating_point():
        return parts

    def column(pair: Pair | None) -> Pair | None:
        return None if pair is None else (pair[0], pair[1].float().unsqueeze(1))

    return replace(parts, train=column(parts.train), valid=column(parts.valid), test=column(parts.test))


def read_pickle_parts(path: str, flat: bool = True) -> Parts:
    """Return ``mnist.pkl.gz`` as its three parts; nothing in the file is executed.

    Args:
        path: the file.
        flat: whether rows are **(784,)** instead of **(1, 28, 28)**.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or is damaged.
    """
    read = datas.read_mnist_pickle(path)
    numbers = read[0][0].shape[1]
    side = math.isqrt(numbers)
    if side * side != numbers and not flat:
        raise ValueError(
            f"data {path}: flat = false, but rows of {numbers} numbers are no square images; leave it out."
        )
    shape = (numbers,) if flat else (1, side, side)
    train, valid, test = (
        (torch.from_numpy(images).float().reshape(-1, *shape), torch.from_numpy(labels).long())
        for images, labels in read
    )
    return Parts(Path(path).name, train, valid, test, image_shape=(1, side, side) if side * side == numbers else None)

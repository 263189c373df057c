"""What is known of users or items beside their ratings, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .columns import column, column_names
from .vocabulary import Vocabulary

__all__ = ["Features", "make_features"]

_MOST_VALUES = 64  # of a text column, each of which becomes a column of 0 and 1


@dataclass(frozen=True, eq=False)
class Features:
    """A row of numbers for each row of a vocabulary.

    Attributes:
        values: **(rows, p)**, float32; numbers have mean 0 and variance 1 over the listed ids, and a row of zeros is an
            id of which nothing is known.
        names: of the p columns.
    """

    values: Tensor
    names: tuple[str, ...]


def make_features(table: Any, key: str, ids: Vocabulary) -> Features:
    """Return the columns of *table* beside *key* in the order of the vocabulary.

    Columns of numbers are standardized, columns of texts or bools become one column of 0 and 1 per value.

    Args:
        table: pandas, Arrow or a dict of arrays, one row per id.
        key: its column of ids.
        ids: the vocabulary; ids that it does not know are left out.

    Raises:
        ValueError: no such column, an id listed twice, no further column, or a text column with more than 64 values.

    >>> table = {"user": [1, 2, 3], "age": [20.0, 30.0, 40.0], "sex": ["f", "m", "f"]}
    >>> made = make_features(table, "user", Vocabulary([1, 2, 3], "user"))
    >>> made.names, made.values[1].tolist()
    (('age', 'sex=f', 'sex=m'), [-1.2247449159622192, 1.0, 0.0])
    """
    who = f"recommend, features of {ids.what}s"
    rows = ids.rows(column(table, key, who)).numpy()
    listed = np.flatnonzero(rows)
    counts = np.bincount(rows[listed], minlength=len(ids))
    if counts.max(initial=0) > 1:
        twice = int(np.flatnonzero(counts > 1)[0])
        raise ValueError(
            f"{who}: {ids.what} {ids.id_of(twice)!r} is listed {counts[twice]} times; give one row per {ids.what}."
        )
    made: list[tuple[str, np.ndarray[Any, Any]]] = []
    for name in column_names(table):
        if name != key:
            made += _encoded(name, column(table, name, who)[listed], who)
    if not made:
        raise ValueError(f"{who}: the table has no column beside {key!r}; give features or leave the table out.")
    values = np.zeros((len(ids), len(made)), dtype=np.float32)
    values[rows[listed]] = np.stack([one for _, one in made], axis=1)
    return Features(torch.from_numpy(values), tuple(name for name, _ in made))


def _encoded(name: str, values: Any, who: str) -> list[tuple[str, Any]]:
    if values.dtype.kind in "iuf":
        bad = np.flatnonzero(~np.isfinite(values.astype(np.float64)))
        if len(bad):
            raise ValueError(f"{who}: column {name!r} is {values[bad[0]]} in row {bad[0]}; fill it first.")
        spread = float(np.std(values)) if len(values) else 0.0
        return [(name, (values - values.mean()) / spread)] if spread else []
    texts = np.array([str(one) for one in values])
    kinds = np.unique(texts)
    if len(kinds) > _MOST_VALUES:
        raise ValueError(
            f"{who}: column {name!r} has {len(kinds)} different texts, more than {_MOST_VALUES}; leave it out or group "
            "its values."
        )
    return [(f"{name}={kind}", (texts == kind).astype(np.float32)) for kind in kinds]

"""A table of ratings, checked, with its vocabularies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.draw import Table
from thalweg.errors import unknown_name

from .columns import column, numbers, table_length
from .features import Features, make_features
from .vocabulary import Vocabulary, as_ids

__all__ = ["DUPLICATES", "Ratings"]

DUPLICATES = ("error", "last", "mean", "keep")


@dataclass(frozen=True, eq=False)
class Ratings:
    """Who rated what, how, and when.

    Parts of a table (`part`, and what `thalweg.recommend.split_fraction` and its like return) keep the vocabularies of
    the whole table, so that ids that occur in the validation part only have a row too.

    Attributes:
        users, items: rows in the vocabularies, **(n,)**, int64, each >= 1.
        values: the ratings, **(n,)**, float32.
        times: seconds, **(n,)**, float64, or None.
        user_ids, item_ids: the vocabularies.
        titles: item id → its title, where titles are known.
        user_features, item_features: side features, or None.

    >>> table = {"user": ["ann", "bob", "ann"], "item": [10, 10, 20], "rating": [5, 3, 4]}
    >>> ratings = Ratings.of(table, titles={10: "Fargo"})
    >>> ratings
    3 ratings by 2 users of 2 items, from 3 to 5, mean 4.000
    >>> print(ratings.show_batch(2))
    user  item  title  rating
    ────  ────  ─────  ──────
    ann     10  Fargo       5
    bob     10  Fargo       3
    """

    users: Tensor
    items: Tensor
    values: Tensor
    times: Tensor | None
    user_ids: Vocabulary
    item_ids: Vocabulary
    titles: Mapping[Any, str] = field(default_factory=dict)
    user_features: Features | None = None
    item_features: Features | None = None

    @classmethod
    def of(
        cls,
        table: Any,
        *,
        user: str = "user",
        item: str = "item",
        rating: str = "rating",
        time: str | None = None,
        titles: Mapping[Any, str] | None = None,
        user_features: Any = None,
        item_features: Any = None,
        duplicates: str = "error",
    ) -> Ratings:
        """Return the ratings of a table.

        Args:
            table: pandas, Arrow, Polars, or a dict of arrays; one row per rating.
            user, item, rating: its columns; ids may be sparse whole numbers or texts.
            time: a column of seconds or dates, or None.
            titles: item id → title.
            user_features, item_features: tables with a column of ids named *user* (*item*) and further columns.
            duplicates: where a user rated an item more than once: ``"error"`` refuses, ``"last"`` keeps the latest (by
                time where there is one, else by row), ``"mean"`` their mean, ``"keep"`` all of them.

        Raises:
            ValueError: a column that is not there, NaN, an empty table, a pair that stands twice.
            TypeError: no table, or a column of the wrong kind.
        """
        who = "recommend"
        if isinstance(table, Ratings):
            return table
        if duplicates not in DUPLICATES:
            raise unknown_name(who, "duplicates", duplicates, DUPLICATES)
        if not table_length(table):
            raise ValueError(f"{who}: the table has no rows; training needs ratings.")
        given = {name: column(table, name, who) for name in (user, item, rating, *([time] if time else []))}
        user_ids = Vocabulary(_with_features(given[user], user_features, user, who), "user")
        item_ids = Vocabulary(_with_features(given[item], item_features, item, who), "item")
        found = cls(
            users=user_ids.rows(given[user]),
            items=item_ids.rows(given[item]),
            values=torch.from_numpy(numbers(given[rating], rating, who).astype(np.float32)),
            times=torch.from_numpy(numbers(given[time], time, who)) if time else None,
            user_ids=user_ids,
            item_ids=item_ids,
            titles={} if titles is None else dict(titles),
            user_features=None if user_features is None else make_features(user_features, user, user_ids),
            item_features=None if item_features is None else make_features(item_features, item, item_ids),
        )
        return found if duplicates == "keep" else _without_duplicates(found, duplicates)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        users, items = int((torch.bincount(self.users) > 0).sum()), int((torch.bincount(self.items) > 0).sum())
        low, high = (float(self.values.min()), float(self.values.max())) if len(self) else (float("nan"),) * 2
        return (
            f"{len(self):,} ratings by {users:,} user{'s' * (users != 1)} of {items:,} item{'s' * (items != 1)}, "
            f"from {low:g} to {high:g}, mean {float(self.values.double().mean()):.3f}"
        )

    def part(self, rows: Tensor) -> Ratings:
        """Return the ratings at the row numbers *rows*, **(m,)**, with the vocabularies of the whole."""
        return replace(
            self,
            users=self.users[rows],
            items=self.items[rows],
            values=self.values[rows],
            times=None if self.times is None else self.times[rows],
        )

    def title(self, item: Any) -> str:
        """Return an item's title, or its id where it has none."""
        return self.titles.get(item, str(item))

    def show_batch(self, count: int = 9) -> Table:
        """Return the first *count* ratings with ids and titles as a table."""
        named = bool(self.titles)
        rows = []
        for k in range(min(count, len(self))):
            item = self.item_ids.id_of(int(self.items[k]))
            row = [self.user_ids.id_of(int(self.users[k])), item, *([self.title(item)] if named else [])]
            rows.append([*row, float(self.values[k])])
        return Table(rows, ["user", "item", *(["title"] if named else []), "rating"])


def _with_features(ids: Any, features: Any, key: str, who: str) -> Any:
    """Return the ids of the ratings together with those that only the table of features lists."""
    if features is None:
        return ids
    return np.concatenate([as_ids(ids, key), as_ids(column(features, key, f"{who}, features"), key)])


def _without_duplicates(ratings: Ratings, policy: str) -> Ratings:
    pair = ratings.users * len(ratings.item_ids) + ratings.items
    unique, inverse, counts = torch.unique(pair, return_inverse=True, return_counts=True)
    if len(unique) == len(pair):
        return ratings
    if policy == "error":
        which = int(counts.argmax())
        rows = torch.where(inverse == which)[0][:3].tolist()
        user = ratings.user_ids.id_of(int(ratings.users[rows[0]]))
        item = ratings.item_ids.id_of(int(ratings.items[rows[0]]))
        raise ValueError(
            f"recommend: user {user!r} rated item {item!r} {int(counts[which])} times (rows "
            f"{', '.join(map(str, rows))}{', …' if counts[which] > 3 else ''}), and {len(pair) - len(unique)} rows in "
            "all repeat a pair; pass duplicates='last', 'mean' or 'keep' to say which counts."
        )
    order = torch.arange(len(pair)) if ratings.times is None else torch.argsort(ratings.times, stable=True)
    last = _last_of(inverse, order, len(unique))
    kept = last.sort().values
    found = ratings.part(kept)
    if policy == "mean":
        sums = torch.zeros(len(unique), dtype=torch.float64).index_add_(0, inverse, ratings.values.double())
        found = replace(found, values=(sums / counts).float()[inverse[kept]])
    return found


def _last_of(group: Tensor, order: Tensor, n: int) -> Tensor:
    """Return for each of n groups the row that comes last in *order*."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    latest = torch.zeros(n, dtype=torch.long).scatter_reduce_(0, group, rank, "amax", include_self=False)
    return order[latest]

"""Pairs that a prediction is asked for, in whatever form."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .columns import column, numbers
from .ratings import Ratings

__all__ = ["asked_pairs"]

_WHO = "Recommender.predict"


def asked_pairs(
    pairs: Any, known: Ratings, user: str, item: str, time: str | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return rows of users and items in the vocabularies of *known*, and times.

    Args:
        pairs: tuples, an array **(n, 2)**, a table, or `Ratings`.
        known: what the model was trained on.
        user, item, time: columns of a table.

    Raises:
        TypeError: no pairs.
        ValueError: no such column.
    """
    if isinstance(pairs, Ratings):
        if pairs.user_ids is known.user_ids and pairs.item_ids is known.item_ids:
            return pairs.users, pairs.items, pairs.times
        users = known.user_ids.rows(pairs.user_ids.ids)[pairs.users - 1]
        return users, known.item_ids.rows(pairs.item_ids.ids)[pairs.items - 1], pairs.times
    if isinstance(pairs, Tensor):
        pairs = pairs.cpu().numpy()
    if isinstance(pairs, np.ndarray) or (isinstance(pairs, (list, tuple)) and not hasattr(pairs, "columns")):
        users_asked, items_asked = _two(pairs)
        return known.user_ids.rows(users_asked), known.item_ids.rows(items_asked), None
    users = known.user_ids.rows(column(pairs, user, _WHO))
    items = known.item_ids.rows(column(pairs, item, _WHO))
    times = None if time is None else torch.from_numpy(numbers(column(pairs, time, _WHO), time, _WHO))
    return users, items, times


def _two(pairs: Any) -> tuple[Any, Any]:
    if isinstance(pairs, np.ndarray):
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise TypeError(f"{_WHO}: the array has the shape {pairs.shape}; give (user, item) in each row, (n, 2).")
        return pairs[:, 0], pairs[:, 1]
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        wrong = next((pair for pair in pairs if not (isinstance(pair, (tuple, list)) and len(pair) == 2)), None)
        raise TypeError(f"{_WHO}: {wrong!r} is no pair; give a list of (user, item), an array (n, 2) or a table.")
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

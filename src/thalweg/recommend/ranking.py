"""All items in the order of their predicted ratings: recommendations, and how good they are."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from thalweg.errors import check_number
from thalweg.learner import Learner

from .listing import Listed, Listing
from .metrics import RankingSums, mae, rmse
from .ratings import Ratings

__all__ = ["evaluate", "recommend_for"]

_AT_ONCE = 1 << 22  # scores


class Fitted(Protocol):
    """The recommender as this module sees it: it cannot import it, because that imports this."""

    module: nn.Module
    learner: Learner
    ratings: Ratings
    range: tuple[float, float]

    def predict(self, pairs: Any) -> Any:
        """:meth:`Recommender.predict`."""

    def module_width(self) -> int:
        """:meth:`Recommender.module_width`."""


@torch.no_grad()
def all_scores(fitted: Fitted, users: Tensor) -> Tensor:
    """Return predictions of every known item, **(m, items)** (without the unknown), for rows of users **(m,)**."""
    fitted.module.eval()
    scores: Tensor = fitted.module.scores(users.to(fitted.learner.device))  # type: ignore[operator]
    return scores[:, 1:].cpu()


def seen_mask(ratings: Ratings, users: Tensor) -> Tensor:
    """Return which items each of *users* rated, **(m, items)**, bool."""
    place = torch.full((len(ratings.user_ids),), -1, dtype=torch.long)
    place[users] = torch.arange(len(users))
    own = place[ratings.users]
    mask = torch.zeros(len(users), len(ratings.item_ids), dtype=torch.bool)
    mask[own[own >= 0], ratings.items[own >= 0]] = True
    return mask[:, 1:]


def recommend_for(fitted: Fitted, user: Any, n: int, exclude_seen: bool) -> Listing:
    """Return the *n* items with the highest predictions."""
    check_number("Recommender.recommend", "n", n, low=1)
    ratings = fitted.ratings
    row = ratings.user_ids.rows([user])
    scores = all_scores(fitted, row)[0]
    if exclude_seen and int(row):
        scores = scores.masked_fill(seen_mask(ratings, row)[0], -torch.inf)
    order = torch.argsort(scores, descending=True, stable=True)[: int(n)]
    low, high = fitted.range
    rows = []
    for place in order.tolist():
        value = float(scores[place])
        if value > -torch.inf:
            item = ratings.item_ids.id_of(place + 1)
            rows.append(Listed(item, ratings.title(item), min(max(value, low), high)))
    return Listing(rows, "rating")


def evaluate(fitted: Fitted, test: Ratings, k: int, relevant: float | None) -> dict[str, float]:
    """Return errors of held-out ratings and, with *relevant*, metrics of rankings."""
    predictions = torch.from_numpy(fitted.predict(test))
    found = {"rmse": rmse(predictions, test.values), "mae": mae(predictions, test.values)}
    if relevant is None:
        return found
    known = (test.users > 0) & (test.items > 0) & (test.values >= relevant)
    users = torch.unique(test.users[known])
    n_items = len(test.item_ids) - 1
    sums = RankingSums(k, n_items)
    size = max(1, _AT_ONCE // max(1, n_items * max(1, fitted.module_width() // 64)))
    for part in users.split(size):
        wanted = seen_mask(test.part(torch.where(known)[0]), part)
        sums.add(all_scores(fitted, part), wanted, seen_mask(fitted.ratings, part))
    return {**found, **sums.result()}

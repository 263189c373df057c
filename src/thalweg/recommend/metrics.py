r"""How good predictions and rankings are.

Rankings have all items as candidates: no sampled negatives, whose metrics order models differently (Krichene and
Rendle, *On Sampled Metrics for Item Recommendation*, KDD 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.errors import check_number

__all__ = ["RankingSums", "mae", "ranking_metrics", "rmse"]


def rmse(predictions: Tensor, ratings: Tensor) -> float:
    r"""Return the root mean squared error :math:`\sqrt{\frac1n \sum (\hat r - r)^2}`.

    Shapes: both **(n,)**.

    >>> rmse(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 4.0]))
    1.0
    """
    return float((_same(predictions, ratings)).square().mean().sqrt())


def mae(predictions: Tensor, ratings: Tensor) -> float:
    r"""Return the mean absolute error :math:`\frac1n \sum |\hat r - r|`.

    Shapes: both **(n,)**.

    >>> mae(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 3.0]))
    1.5
    """
    return float((_same(predictions, ratings)).abs().mean())


def _same(predictions: Tensor, ratings: Tensor) -> Tensor:
    if predictions.shape != ratings.shape or not len(ratings):
        raise ValueError(
            f"recommend: predictions have the shape {tuple(predictions.shape)} and ratings {tuple(ratings.shape)}; "
            "give one of each per row, at least one."
        )
    return predictions.double() - ratings.double()


def ranking_metrics(scores: Tensor, relevant: Tensor, seen: Tensor | None = None, *, k: int = 10) -> dict[str, float]:
    r"""Return nDCG@k, recall@k, MAP and coverage@k of rankings of all items.

    For each user with at least one relevant item, the items that are not *seen* are ordered by falling score (equal
    scores by item number). With :math:`\text{rel}_p \in \{0, 1\}` at place p and R relevant items:

    .. math::
        \text{nDCG@}k = \frac{\sum_{p \le k} \text{rel}_p / \log_2(p + 1)}{\sum_{p \le \min(k, R)} 1 / \log_2(p + 1)},
        \quad \text{recall@}k = \frac1R \sum_{p \le k} \text{rel}_p,
        \quad \text{AP} = \frac1R \sum_p \text{rel}_p \, \frac{\sum_{q \le p} \text{rel}_q}{p}

    MAP is the mean of AP over the whole ranking; coverage@k the share of all items that are among somebody's first k.

    Args:
        scores: **(U, I)**, larger is better.
        relevant: **(U, I)**, bool; users without any are left out of the means.
        seen: **(U, I)**, bool: no candidates; None: all are.
        k: length of the lists, >= 1.

    Raises:
        ValueError: nobody has a relevant item among the candidates, or shapes that differ.

    >>> scores = torch.tensor([[3.0, 2.0, 1.0]])
    >>> found = ranking_metrics(scores, torch.tensor([[False, True, False]]), k=2)
    >>> {name: round(value, 3) for name, value in found.items()}
    {'ndcg@2': 0.631, 'recall@2': 1.0, 'map': 0.5, 'coverage@2': 0.667}
    """
    if scores.ndim != 2:
        raise ValueError(f"ranking_metrics: scores have the shape {tuple(scores.shape)}; give (users, items).")
    sums = RankingSums(k, scores.shape[1])
    sums.add(scores, relevant, seen)
    return sums.result()


class RankingSums:
    """The sums behind `ranking_metrics`, over users that come in parts.

    Args:
        k: length of the lists, >= 1; that of all items where it is longer.
        items: how many there are.

    >>> sums = RankingSums(1, 2)
    >>> for scores in ([[1.0, 0.0]], [[0.0, 1.0]]):
    ...     sums.add(torch.tensor(scores), torch.tensor([[True, False]]))
    >>> sums.result()
    {'ndcg@1': 0.5, 'recall@1': 0.5, 'map': 0.75, 'coverage@1': 1.0}
    """

    def __init__(self, k: int, items: int) -> None:
        check_number("ranking_metrics", "k", k, low=1)
        self.k = min(k, items)
        self.users = 0
        self._sums = torch.zeros(3, dtype=torch.float64)
        self._covered = torch.zeros(items, dtype=torch.bool)
        self._discount = 1 / torch.log2(torch.arange(2, items + 2, dtype=torch.float64))

    def add(self, scores: Tensor, relevant: Tensor, seen: Tensor | None = None) -> None:
        """Add users: all three **(U, items)**, as for `ranking_metrics`."""
        if scores.shape != relevant.shape or (seen is not None and seen.shape != scores.shape):
            raise ValueError(
                f"ranking_metrics: scores {tuple(scores.shape)}, relevant {tuple(relevant.shape)} and seen "
                f"{None if seen is None else tuple(seen.shape)} must be alike, (users, items)."
            )
        if seen is None:
            seen = torch.zeros_like(relevant)
        relevant = relevant & ~seen
        asked = relevant.any(1)
        scores, relevant, seen = scores[asked].masked_fill(seen[asked], -torch.inf), relevant[asked], seen[asked]
        order = torch.argsort(scores, dim=1, descending=True, stable=True)
        # Seen items stand at the end, and what lies beyond the candidates is shown to nobody.
        shown = torch.arange(self.k) < (~seen).sum(1, keepdim=True)
        self._covered[order[:, : self.k][shown]] = True
        hits, total = relevant.gather(1, order).double(), relevant.sum(1)
        ideal = self._discount[: self.k].cumsum(0)[total.clamp(max=self.k) - 1]
        precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
        first = hits[:, : self.k]
        self._sums[0] += ((first * self._discount[: self.k]).sum(1) / ideal).sum()
        self._sums[1] += (first.sum(1) / total).sum()
        self._sums[2] += ((precision * hits).sum(1) / total).sum()
        self.users += int(asked.sum())

    def result(self) -> dict[str, float]:
        """Return the means.

        Raises:
            ValueError: nobody has a relevant item among the candidates.
        """
        if not self.users:
            raise ValueError(
                "ranking_metrics: no user has a relevant item among the candidates; lower the rating from which items "
                "are relevant."
            )
        ndcg, recall, precision = (self._sums / self.users).tolist()
        covered = float(self._covered.double().mean())
        return {f"ndcg@{self.k}": ndcg, f"recall@{self.k}": recall, "map": precision, f"coverage@{self.k}": covered}

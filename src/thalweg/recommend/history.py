"""Factors with histories: what a user has rated at all says something, whatever the rating (SVD++)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dot_product import DotProduct

__all__ = ["HistoryDotProduct", "ragged_rows"]


class HistoryDotProduct(DotProduct):
    r"""The dot-product model with histories on both sides.

    .. math::
        (p_u, b_u) = (p'_u, b'_u) + |N(u)|^{-1/2} \sum_{j \in N(u)} y_j, \qquad
        (q_i, b_i) = (q'_i, b'_i) + |N(i)|^{-1/2} \sum_{v \in N(i)} z_v

    N(u) are the items that u rated in the training part, N(i) the users who rated i there.

    Args:
        n_users, n_items, n_factors, y_range: as for `DotProduct`.
        seen: the pairs of the training part, **(n, 2)**, int64.
        both: histories of items too; False: of users alone, Koren's SVD++.
        **settings: anything else that `DotProduct` takes.

    Shapes: those of `DotProduct`.

    Source: Koren, *Factorization Meets the Neighborhood*, KDD 2008, equation 15; histories on both sides as in Rendle,
    Zhang and Koren, *On the Difficulty of Evaluating Baselines*, 2019, section 4.1 ("flipped").

    >>> _ = torch.manual_seed(0)
    >>> model = HistoryDotProduct(3, 4, 2, seen=torch.tensor([[1, 1], [1, 2], [2, 3]]))
    >>> model(torch.tensor([[1, 2], [0, 3]])).shape
    torch.Size([2])
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 40,
        y_range: Sequence[float] | None = (0.0, 5.5),
        *,
        seen: Tensor,
        both: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(n_users, n_items, n_factors, y_range, **settings)
        if seen.ndim != 2 or seen.shape[1] != 2:
            raise ValueError(
                f"HistoryDotProduct: seen has the shape {tuple(seen.shape)}; give the pairs (user, item) of the "
                "training part, (n, 2)."
            )
        width = self.members * (self.n_factors + 1)
        self.item_history = nn.Embedding(n_items, width)
        nn.init.zeros_(self.item_history.weight)
        self._keep("user", seen[:, 0], seen[:, 1], n_users)
        self.user_history: nn.Embedding | None = None
        if both:
            self.user_history = nn.Embedding(n_users, width)
            nn.init.zeros_(self.user_history.weight)
            self._keep("item", seen[:, 1], seen[:, 0], n_items)

    def _keep(self, side: str, own: Tensor, other: Tensor, rows: int) -> None:
        """Keep the history of each row as compressed sparse rows."""
        counts = torch.bincount(own, minlength=rows)
        self.register_buffer(f"{side}_ends", torch.cat([counts.new_zeros(1), counts.cumsum(0)]))
        self.register_buffer(f"{side}_rated", other[torch.argsort(own, stable=True)])

    def _is_plain(self) -> bool:
        return False

    def user_vectors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self._with_history(super().user_vectors(rows), rows, "user", self.item_history)

    def item_vectors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        found = super().item_vectors(rows)
        return found if self.user_history is None else self._with_history(found, rows, "item", self.user_history)

    def _with_history(
        self, own: tuple[Tensor, Tensor], rows: Tensor, side: str, table: nn.Embedding
    ) -> tuple[Tensor, Tensor]:
        ends, rated = getattr(self, f"{side}_ends"), getattr(self, f"{side}_rated")
        # A user's history is summed once per batch, however many of the batch's ratings are hers.
        unique, inverse = torch.unique(rows, return_inverse=True)
        places, offsets, counts = ragged_rows(ends, unique)
        if isinstance(table.weight, nn.Parameter):
            sums = F.embedding_bag(rated[places], table.weight, offsets, mode="sum")
        else:  # under functional_call, perhaps of many members at once, for which embedding_bag has no rule
            owner = torch.repeat_interleave(torch.arange(len(unique), device=rows.device), counts)
            empty = table.weight.new_zeros(len(unique), table.weight.shape[1])
            sums = empty.index_add(0, owner, table.weight[rated[places]])
        shared = (sums * counts.clamp(min=1).to(sums.dtype).rsqrt().unsqueeze(1))[inverse]
        factors, bias = own
        return factors + shared[:, : -self.members], bias + shared[:, -self.members :]


def ragged_rows(ends: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (places, offsets, counts) of the entries of *rows* in compressed sparse rows.

    >>> [part.tolist() for part in ragged_rows(torch.tensor([0, 2, 2, 5]), torch.tensor([2, 0]))]
    [[2, 3, 4, 0, 1], [0, 3], [3, 2]]
    """
    counts = ends[rows + 1] - ends[rows]
    offsets = counts.cumsum(0) - counts
    total = torch.arange(int(counts.sum()), device=rows.device)
    return total + torch.repeat_interleave(ends[rows] - offsets, counts), offsets, counts

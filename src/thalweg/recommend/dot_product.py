"""Factors and biases: the dot-product model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from thalweg.errors import check_number

from .fused import fused_ratings, plain_ratings

__all__ = ["DotProduct", "as_range", "check_counts", "check_range"]

Range = tuple[float, float]


class DotProduct(nn.Module):
    r"""Ratings as the product of a user's and an item's factors, with biases.

    .. math::
        \hat r_{ui} = l + (h - l)\, \sigma\Big(c + b_u + b_i + \sum_e t_{e(ui)} + p_u^\top q_i\Big)

    and without the sigmoid, :math:`\hat r = c + \dots`, where there is no range. Side features add a linear map of
    themselves to factors and bias: :math:`(p_u, b_u) = (p'_u, b'_u) + W x_u`. With *members*, as many models lie side
    by side in the same tables and are computed together; in training the output has a column per member, in evaluation
    it is their mean.

    Args:
        n_users, n_items: rows of the tables, the unknown (row 0) included.
        n_factors: K >= 1.
        y_range: (l, h), a little wider than the ratings, which a sigmoid only reaches at infinity; or None.
        offset: c: where predictions begin.
        members: models side by side, M >= 1.
        effects: sizes of tables of further intercepts (a user's day, say); row 0 of each is the unknown and stays 0.
        user_features, item_features: **(n_users, p)** and **(n_items, p')**, or None.
        std: standard deviation of the first factors and biases.

    Shapes:
        pairs **(B, 2 + effects)** whole numbers: user row, item row, row of each effect → **(B,)**, or **(B, M)** in
        training with M > 1.

    Raises:
        ValueError: a size below 1, an empty range.

    Source: Koren, Bell and Volinsky, *Matrix Factorization Techniques for Recommender Systems*, IEEE Computer 2009,
    equation 4; the sigmoid range as in fastai's ``EmbeddingDotBias``.

    >>> _ = torch.manual_seed(0)
    >>> model = DotProduct(4, 6, n_factors=3)
    >>> model(torch.tensor([[1, 2], [3, 5]])).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2]), 40)
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        n_factors: int = 40,
        y_range: Sequence[float] | None = (0.0, 5.5),
        *,
        offset: float = 0.0,
        members: int = 1,
        effects: Sequence[int] = (),
        user_features: Tensor | None = None,
        item_features: Tensor | None = None,
        std: float = 0.01,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        check_counts(who, n_users=n_users, n_items=n_items, n_factors=n_factors, members=members)
        check_range(who, y_range)
        check_number(who, "std", std, low=0.0, low_open=True)
        self.n_factors, self.members, self.y_range = n_factors, members, as_range(y_range)
        self.user_factors = nn.Embedding(n_users, members * n_factors)
        self.item_factors = nn.Embedding(n_items, members * n_factors)
        self.user_bias = nn.Embedding(n_users, members)
        self.item_bias = nn.Embedding(n_items, members)
        for table in (self.user_factors, self.item_factors, self.user_bias, self.item_bias):
            nn.init.trunc_normal_(table.weight, std=std, a=-2 * std, b=2 * std)
        self.effects = nn.ModuleList(nn.Embedding(size, members, padding_idx=0) for size in effects)
        for effect in self.effects:
            nn.init.zeros_(effect.get_parameter("weight"))
        self.register_buffer("offset", torch.tensor(float(offset)))
        self.offset: Tensor
        self.user_side = self._side("user_features", user_features, n_users)
        self.item_side = self._side("item_features", item_features, n_items)

    def _side(self, name: str, features: Tensor | None, rows: int) -> nn.Linear | None:
        if features is None:
            self.register_buffer(name, None)
            return None
        if len(features) != rows:
            raise ValueError(
                f"{type(self).__name__}: {name} has {len(features)} rows for {rows}; give one row per row of the table."
            )
        self.register_buffer(name, features.float())
        side = nn.Linear(features.shape[1], self.members * (self.n_factors + 1), bias=False)
        nn.init.zeros_(side.weight)
        return side

    def user_vectors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return factors **(m, M·K)** and biases **(m, M)** of users, side features included."""
        return self._vectors(rows, self.user_factors, self.user_bias, self.user_side, "user_features")

    def item_vectors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return factors **(m, M·K)** and biases **(m, M)** of items, side features included."""
        return self._vectors(rows, self.item_factors, self.item_bias, self.item_side, "item_features")

    def _vectors(
        self, rows: Tensor, factors: nn.Embedding, bias: nn.Embedding, side: nn.Linear | None, features: str
    ) -> tuple[Tensor, Tensor]:
        found, intercept = factors(rows), bias(rows)
        if side is not None:
            known = side(getattr(self, features)[rows])
            found = found + known[:, : -self.members]
            intercept = intercept + known[:, -self.members :]
        return found, intercept

    def forward(self, pairs: Tensor) -> Tensor:
        if not self._is_plain():
            return self.joined(self.rated(self.totals(pairs)))
        users, items = pairs.long().unbind(1)
        tables = (self.user_factors, self.item_factors, self.user_bias, self.item_bias)
        p, q, b, c = (table.weight for table in tables)
        # Under functional_call the weights are plain tensors, which a transform may have wrapped.
        rated = fused_ratings if isinstance(p, nn.Parameter) else plain_ratings
        return rated(users, items, p, q, b, c, self.offset, self.y_range)

    def _is_plain(self) -> bool:
        """Whether a rating is only factors and biases of one member."""
        return self.members == 1 and not self.effects and self.user_side is None and self.item_side is None

    def totals(self, pairs: Tensor) -> Tensor:
        """Return the sums of products and biases, before offset and range, **(B, M)**."""
        pairs = pairs.long()  # a stream of files brings whole numbers as floats
        p, b_user = self.user_vectors(pairs[:, 0])
        q, b_item = self.item_vectors(pairs[:, 1])
        total = (p * q).view(-1, self.members, self.n_factors).sum(2) + b_user + b_item
        for column, table in enumerate(self.effects, start=2):
            total = total + table(pairs[:, column])
        return total

    def rated(self, total: Tensor) -> Tensor:
        """Return ratings from sums of products and biases, any shape."""
        total = total + self.offset
        if self.y_range is None:
            return total
        low, high = self.y_range
        return torch.sigmoid(total) * (high - low) + low

    def joined(self, outputs: Tensor) -> Tensor:
        """Return **(B,)** of **(B, M)**: the only member, or in evaluation their mean."""
        if self.members == 1:
            return outputs.squeeze(1)
        return outputs if self.training else outputs.mean(1)

    def scores(self, users: Tensor) -> Tensor:
        """Return predictions of all items for users, effects left out; rows **(m,)** → **(m, n_items)**."""
        everything = torch.arange(self.item_bias.num_embeddings, device=users.device)
        p, b_user = self.user_vectors(users)
        q, b_item = self.item_vectors(everything)
        if self.y_range is None:  # linear: the mean of the members is one product
            linear: Tensor = self.offset + (p @ q.T + b_user.sum(1, keepdim=True) + b_item.sum(1)) / self.members
            return linear
        shape = (-1, self.members, self.n_factors)
        product = torch.einsum("umk,imk->uim", p.view(shape), q.view(shape))
        return self.rated(product + b_user[:, None] + b_item).mean(2)


def check_counts(who: str, **counts: int) -> None:
    """Raise unless every value is a whole number >= 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{who}: {name}={value!r} must be a whole number, got {type(value).__name__}.")
        check_number(who, name, value, low=1)


def as_range(y_range: Sequence[float] | None) -> Range | None:
    """Return a checked range as a pair."""
    return None if y_range is None else (float(y_range[0]), float(y_range[1]))


def check_range(who: str, y_range: Sequence[float] | None) -> None:
    """Raise unless *y_range* is None or a pair (low, high), low < high."""
    if y_range is None:
        return
    if not isinstance(y_range, (tuple, list)) or len(y_range) != 2:
        raise TypeError(f"{who}: y_range={y_range!r} must be a pair (low, high), or None for no range.")
    low, high = y_range
    check_number(who, "y_range[0]", low)
    check_number(who, "y_range[1]", high, low=float(low), low_open=True)

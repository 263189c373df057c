"""The neural variant: concatenated embeddings through a multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from thalweg.errors import check_number

from .dot_product import as_range, check_counts, check_range

__all__ = ["NeuralRecommender", "embedding_size"]


def embedding_size(rows: int) -> int:
    """Return the width of an embedding for a table of *rows*: min(600, round(1.6 · rows^0.56)), fastai's rule.

    >>> embedding_size(944), embedding_size(1683)
    (74, 103)
    """
    return min(600, round(1.6 * math.exp(0.56 * math.log(rows))))


class NeuralRecommender(nn.Module):
    r"""Ratings from concatenated embeddings by a multilayer perceptron.

    .. math::
        h_0 = [e_u, e_i, x_u, x_i], \quad h_{l+1} = \operatorname{dropout}(\operatorname{relu}(W_l h_l + a_l)), \quad
        \hat r = l + (h - l)\, \sigma\Big(c + b_u + b_i + \sum_e t_{e(ui)} + w^\top h_L\Big)

    The biases b carry what is the users' and the items' own, and the output weights w begin at zero, so that training
    begins with the biases alone and adds what the layers find.

    Args:
        n_users, n_items, y_range, offset, members, effects, user_features, item_features: as for `DotProduct`.
        emb_szs: widths of the two embeddings; by default `embedding_size` of the tables.
        layers: widths of the hidden layers, each >= 1.
        dropout: share of hidden values set to 0 in training, in [0, 1).
        embed_p: the same for the concatenated embeddings.

    Shapes: those of `DotProduct`.

    Raises:
        ValueError: a size below 1, an empty range, a dropout outside [0, 1).

    Source: fastai's ``EmbeddingNN``, with biases; He et al., *Neural Collaborative Filtering*, WWW 2017, section 3.3.

    >>> _ = torch.manual_seed(0)
    >>> model = NeuralRecommender(4, 6, emb_szs=(3, 5), layers=[8])
    >>> model(torch.tensor([[1, 2], [3, 5]])).shape
    torch.Size([2])
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        y_range: Sequence[float] | None = (0.0, 5.5),
        *,
        emb_szs: Sequence[int] | None = None,
        layers: Sequence[int] = (100,),
        dropout: float = 0.0,
        embed_p: float = 0.0,
        offset: float = 0.0,
        members: int = 1,
        effects: Sequence[int] = (),
        user_features: Tensor | None = None,
        item_features: Tensor | None = None,
        std: float = 0.01,
    ) -> None:
        super().__init__()
        who = "NeuralRecommender"
        sizes = (embedding_size(n_users), embedding_size(n_items)) if emb_szs is None else tuple(emb_szs)
        if len(sizes) != 2:
            raise ValueError(f"{who}: emb_szs={emb_szs!r} must be two widths, the users' and the items'.")
        check_counts(who, n_users=n_users, n_items=n_items, members=members)
        check_counts(who, **{f"emb_szs[{k}]": size for k, size in enumerate(sizes)})
        check_counts(who, **{f"layers[{k}]": width for k, width in enumerate(layers)})
        check_range(who, y_range)
        for name, value in (("dropout", dropout), ("embed_p", embed_p)):
            check_number(who, name, value, low=0.0, high=1.0, high_open=True)
        self.members, self.y_range = members, as_range(y_range)
        self.user_factors = nn.Embedding(n_users, members * sizes[0])
        self.item_factors = nn.Embedding(n_items, members * sizes[1])
        self.user_bias, self.item_bias = nn.Embedding(n_users, members), nn.Embedding(n_items, members)
        for table in (self.user_factors, self.item_factors, self.user_bias, self.item_bias):
            nn.init.trunc_normal_(table.weight, std=std, a=-2 * std, b=2 * std)
        self.effects = nn.ModuleList(nn.Embedding(size, members, padding_idx=0) for size in effects)
        for effect in self.effects:
            nn.init.zeros_(effect.get_parameter("weight"))
        self.register_buffer("offset", torch.tensor(float(offset)))
        self.offset: Tensor
        width = sum(sizes)
        for name, features, rows in (
            ("user_features", user_features, n_users),
            ("item_features", item_features, n_items),
        ):
            if features is not None and len(features) != rows:
                raise ValueError(f"{who}: {name} has {len(features)} rows for {rows}; give one per row of the table.")
            self.register_buffer(name, None if features is None else features.float())
            width += 0 if features is None else features.shape[1]
        self.embed_drop = nn.Dropout(embed_p)
        self.drop = nn.Dropout(dropout)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for after in layers:
            weight = torch.empty(members, width, after)
            # torch's bounds for nn.Linear; the embeddings are small at first, so the gain is not what matters.
            nn.init.uniform_(weight, -1 / math.sqrt(width), 1 / math.sqrt(width))
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, after)))
            width = after
        self.output = nn.Parameter(torch.zeros(members, width, 1))

    def forward(self, pairs: Tensor) -> Tensor:
        pairs = pairs.long()
        users, items = pairs[:, 0], pairs[:, 1]
        total: Tensor = self.user_bias(users) + self.item_bias(items) + self.offset
        for column, table in enumerate(self.effects, start=2):
            total = total + table(pairs[:, column])
        total = total + self._layers(users, items)
        if self.y_range is not None:
            low, high = self.y_range
            total = torch.sigmoid(total) * (high - low) + low
        if self.members == 1:
            return total.squeeze(1)
        return total if self.training else total.mean(1)

    def _layers(self, users: Tensor, items: Tensor) -> Tensor:
        """Return what the layers add, **(B, M)**."""
        m = self.members
        parts = [self.user_factors(users).unflatten(1, (m, -1)), self.item_factors(items).unflatten(1, (m, -1))]
        for features, rows in ((self.user_features, users), (self.item_features, items)):
            if isinstance(features, Tensor):
                parts.append(features[rows].unsqueeze(1).expand(-1, m, -1))
        hidden = self.embed_drop(torch.cat(parts, dim=2)).transpose(0, 1)  # (M, B, width)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            hidden = self.drop(torch.relu(torch.baddbmm(bias, hidden, weight)))
        return torch.bmm(hidden, self.output).squeeze(2).transpose(0, 1)

    def scores(self, users: Tensor) -> Tensor:
        """Return predictions of all items for users, effects left out; rows **(m,)** → **(m, n_items)**."""
        items = torch.arange(self.item_bias.num_embeddings, device=users.device)
        pairs = torch.zeros(len(users) * len(items), 2 + len(self.effects), dtype=torch.long, device=users.device)
        pairs[:, 0] = users.repeat_interleave(len(items))
        pairs[:, 1] = items.repeat(len(users))
        return torch.cat([self(part) for part in torch.split(pairs, 1 << 16)]).reshape(len(users), len(items))

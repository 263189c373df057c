"""The parts that the transformers share: attention, a block, and how weights begin."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.errors import check_number

from .sizes import check_sizes

__all__ = ["Attention", "Block", "check_transformer", "init_weights"]


class Attention(nn.Module):
    r"""Scaled dot-product attention in *heads* parts of the width.

    .. math:: \operatorname{softmax}(Q K^\top / \sqrt{d_h}) V, \qquad d_h = D / H

    Args:
        d_model: the width D, a multiple of *heads*.
        heads: H.
        dropout: share of attention weights set to 0 in training.

    Shapes:
        x **(B, T, D)**, memory **(B, S, D)** (x itself where there is none), mask **(B, 1, 1, S)** bool (True may be
        looked at) → **(B, T, D)**.

    Source: A. Vaswani et al., Attention is all you need, NeurIPS 2017, section 3.2.
    """

    def __init__(self, d_model: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key_value = nn.Linear(d_model, 2 * d_model, bias=False)
        self.output = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        memory = x if memory is None else memory
        query = self._split(self.query(x))
        key, value = map(self._split, self.key_value(memory).chunk(2, -1))
        seen = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, dropout_p=self.dropout if self.training else 0.0
        )
        mixed: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return mixed

    def _split(self, x: Tensor) -> Tensor:
        """Return **(B, H, T, D / H)**."""
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)


class Block(nn.Module):
    r"""Attention, attention to a memory where there is one, and two linear layers, each on top of what came before.

    .. math:: x \leftarrow x + \operatorname{attend}(\operatorname{norm}(x)), \qquad
              x \leftarrow x + W_2 \operatorname{gelu}(W_1 \operatorname{norm}(x))

    Normalised before, not after, each part, which trains without a long warm-up (R. Xiong et al., On layer
    normalization in the transformer architecture, ICML 2020).

    Args:
        d_model: the width D.
        heads: of the attention.
        dropout: share of values set to 0 in training, before each sum.
        causal: whether a position sees only itself and what stands before it.
        reads_memory: whether there is attention to a memory.
    """

    def __init__(
        self, d_model: int, heads: int, dropout: float = 0.0, *, causal: bool = False, reads_memory: bool = False
    ) -> None:
        super().__init__()
        self.causal = causal
        self.norm = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, heads, dropout)
        self.memory_norm = nn.LayerNorm(d_model) if reads_memory else None
        self.memory_attention = Attention(d_model, heads, dropout) if reads_memory else None
        self.inner_norm = nn.LayerNorm(d_model)
        self.inner = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        x = x + self.dropout(self.attention(self.norm(x), mask=mask, causal=self.causal))
        if self.memory_attention is not None and self.memory_norm is not None:
            x = x + self.dropout(self.memory_attention(self.memory_norm(x), memory, memory_mask))
        summed: Tensor = x + self.dropout(self.inner(self.inner_norm(x)))
        return summed


def init_weights(model: nn.Module, layers: int) -> None:
    r"""Draw weights from N(0, 0.02²), those that end in a sum of *layers* blocks smaller by :math:`\sqrt{2 L}`.

    Source: A. Radford et al., Language models are unsupervised multitask learners, 2019, section 2.3.
    """
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            ends = name.endswith((".output", ".inner.2"))
            nn.init.normal_(module.weight, std=0.02 / math.sqrt(2 * layers) if ends else 0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def check_transformer(who: str, d_model: int, heads: int, dropout: float, **sizes: int) -> None:
    """Raise unless the sizes make a transformer.

    Raises:
        TypeError, ValueError: a size that is no whole number >= 1, a width that the heads do not divide, a dropout
            outside [0, 1).

    >>> check_transformer("Decoder", 100, 3, 0.0)
    Traceback (most recent call last):
    ...
    ValueError: Decoder: d_model=100 cannot be split among heads=3; choose a multiple of 3.
    """
    check_sizes(who, d_model=d_model, heads=heads, **sizes)
    check_number(who, "dropout", dropout, low=0.0, high=1.0, high_open=True)
    if d_model % heads:
        raise ValueError(f"{who}: d_model={d_model} cannot be split among heads={heads}; choose a multiple of {heads}.")

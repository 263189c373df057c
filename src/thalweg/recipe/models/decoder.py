"""A decoder-only transformer: a language model."""

from __future__ import annotations

from torch import Tensor, nn

from .transformer import Block, check_transformer, init_weights

__all__ = ["Decoder"]


class Decoder(nn.Module):
    r"""Token and position embeddings, causal blocks, and the embedding once more as the head.

    .. math:: h_0 = E[x] + P, \qquad h_l = \operatorname{block}_l(h_{l-1}), \qquad o = \operatorname{norm}(h_L) E^\top

    Args:
        vocab_size: tokens of the vocabulary, V.
        context: tokens that a row has at most.
        d_model: the width D, a multiple of *heads*.
        layers: blocks, L.
        heads: of each attention.
        dropout: share of values set to 0 in training, in [0, 1).
        tied: whether the head's weight is the embedding's.

    Shapes:
        tokens **(B, T)** int64, T <= context → logits **(B, T, V)**.

    Raises:
        TypeError, ValueError: a size that is no whole number >= 1, a width that the heads do not divide, a dropout
            outside [0, 1); on a call, more tokens than the context has.

    Source: A. Radford et al., Language models are unsupervised multitask learners, 2019, section 2.3.

    >>> import torch
    >>> model = Decoder(65, 64)
    >>> model(torch.zeros(2, 10, dtype=torch.int64)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10, 65]), 807808)
    """

    def __init__(
        self,
        vocab_size: int,
        context: int,
        d_model: int = 128,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
        tied: bool = True,
    ) -> None:
        super().__init__()
        check_transformer("Decoder", d_model, heads, dropout, vocab_size=vocab_size, context=context, layers=layers)
        self.context = context
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(context, d_model)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(d_model, heads, dropout, causal=True) for _ in range(layers)])
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        init_weights(self, layers)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        if length > self.context:
            raise ValueError(
                f"Decoder: got {length} tokens in a row, and context={self.context}; cut the rows, or give the model a "
                "longer context."
            )
        x = self.dropout(self.embedding(tokens) + self.position.weight[:length])
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def get_output_embeddings(self) -> nn.Linear:
        """Return the head, by Hugging Face's name for it."""
        return self.head

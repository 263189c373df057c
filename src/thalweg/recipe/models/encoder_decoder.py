"""An encoder–decoder transformer: from one sequence to another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thalweg.errors import check_number

from .transformer import Block, check_transformer, init_weights

__all__ = ["EncoderDecoder"]


class EncoderDecoder(nn.Module):
    r"""An encoder of the source, a causal decoder that looks at what it made, one embedding for both and for the head.

    The arguments of ``forward`` have Hugging Face's names. The decoder reads its targets one place late:
    :meth:`prepare_decoder_input_ids_from_labels` makes its input of the labels, and training does so by itself.

    Args:
        vocab_size: tokens of the vocabulary, V, which both languages share.
        max_length: tokens that a row has at most, source or target.
        d_model: the width D, a multiple of *heads*.
        layers: blocks of the encoder, and as many of the decoder.
        heads: of each attention.
        dropout: share of values set to 0 in training, in [0, 1).
        pad_token_id: stands where a row has ended.
        bos_token_id: what the decoder begins with.

    Shapes:
        input_ids **(B, S)** int64, attention_mask **(B, S)** (1 or True where there is a token; None: everywhere),
        decoder_input_ids **(B, T)** → logits **(B, T, V)**.

    Raises:
        TypeError, ValueError: a size that is no whole number >= 1, a width that the heads do not divide, a dropout
            outside [0, 1); on a call, rows longer than *max_length*, or no decoder_input_ids.

    Source: A. Vaswani et al., Attention is all you need, NeurIPS 2017; with normalisation before each part.

    >>> model = EncoderDecoder(100, d_model=16, layers=1, heads=2)
    >>> tokens = torch.ones(2, 5, dtype=torch.int64)
    >>> model(tokens, decoder_input_ids=model.prepare_decoder_input_ids_from_labels(tokens[:, :3])).shape
    torch.Size([2, 3, 100])
    """

    def __init__(
        self,
        vocab_size: int,
        max_length: int = 64,
        d_model: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        pad_token_id: int = 0,
        bos_token_id: int = 1,
    ) -> None:
        super().__init__()
        who = "EncoderDecoder"
        check_transformer(who, d_model, heads, dropout, vocab_size=vocab_size, max_length=max_length, layers=layers)
        for name, token in (("pad_token_id", pad_token_id), ("bos_token_id", bos_token_id)):
            check_number(who, name, token, low=0, high=vocab_size - 1)
        self.max_length, self.pad_token_id, self.bos_token_id = max_length, pad_token_id, bos_token_id
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_length, d_model)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList([Block(d_model, heads, dropout) for _ in range(layers)])
        self.encoder_norm = nn.LayerNorm(d_model)
        self.decoder = nn.ModuleList(
            [Block(d_model, heads, dropout, causal=True, reads_memory=True) for _ in range(layers)]
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        init_weights(self, layers)
        self.head.weight = self.embedding.weight

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return what the decoder looks at, **(B, S, D)**, and where it may, **(B, 1, 1, S)** or None."""
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        x = self._embed(input_ids)
        for block in self.encoder:
            x = block(x, mask)
        return self.encoder_norm(x), mask

    def decode(self, decoder_input_ids: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the logits of the tokens that follow, **(B, T, V)**."""
        x = self._embed(decoder_input_ids)
        for block in self.decoder:
            x = block(x, memory=memory, memory_mask=mask)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, decoder_input_ids: Tensor | None = None
    ) -> Tensor:
        if decoder_input_ids is None:
            raise ValueError(
                "EncoderDecoder: there are no decoder_input_ids; give the batch labels, of which training makes them, "
                "or pass them."
            )
        return self.decode(decoder_input_ids, *self.encode(input_ids, attention_mask))

    def _embed(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        if length > self.max_length:
            raise ValueError(
                f"EncoderDecoder: got {length} tokens in a row, and max_length={self.max_length}; cut the rows, or "
                "give the model a larger max_length."
            )
        embedded: Tensor = self.dropout(self.embedding(tokens) + self.position.weight[:length])
        return embedded

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """Return the labels one place later behind the first token, **(B, T)**; what is ignored becomes padding."""
        first = torch.full_like(labels[:, :1], self.bos_token_id)
        later = labels[:, :-1]
        return torch.cat([first, torch.where(later < 0, self.pad_token_id, later)], 1)

    def get_output_embeddings(self) -> nn.Linear:
        """Return the head, by Hugging Face's name for it."""
        return self.head

"""Tokens out of a model, one after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from thalweg.objective import logits_of

__all__ = ["greedy", "sample"]


@torch.no_grad()
def sample(
    model: nn.Module, tokens: Tensor, count: int, *, context: int, temperature: float = 0.8, seed: int = 0
) -> Tensor:
    r"""Return *tokens* with *count* more, each drawn from :math:`\operatorname{softmax}(o / \tau)` of the last place.

    Args:
        model: tokens **(B, T)** → logits **(B, T, V)**; in evaluation mode.
        tokens: to begin with, **(B, T)** int64.
        count: how many more.
        context: tokens that the model reads at most: the last ones.
        temperature: :math:`\tau` > 0.
        seed: of the draws; no other generator is touched.

    Shapes:
        **(B, T + count)** int64.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        logits = logits_of(model(tokens[:, -context:]))[:, -1].float() / temperature
        drawn = torch.multinomial(logits.softmax(-1).cpu(), 1, generator=generator)
        tokens = torch.cat([tokens, drawn.to(tokens.device)], 1)
    return tokens


@torch.no_grad()
def greedy(step: Callable[[Tensor], Tensor], begin: Tensor, count: int, end: int) -> Tensor:
    """Return the likeliest tokens behind *begin*, until every row has reached *end* or *count* were made.

    Args:
        step: tokens so far **(B, t)** → logits **(B, t, V)**.
        begin: the first tokens, **(B, 1)** int64.
        count: how many more at most.
        end: the token that ends a row; what comes behind it means nothing.

    Shapes:
        **(B, 1 + made)** int64.
    """
    tokens = begin
    ended = torch.zeros(len(begin), dtype=torch.bool, device=begin.device)
    for _ in range(count):
        following = step(tokens)[:, -1].argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, following], 1)
        ended |= following[:, 0] == end
        if bool(ended.all()):
            break
    return tokens

r"""What an evaluation counts over tokens, from hidden states and a head: likelihood and hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.errors import check_number
from thalweg.loss.linear_chunks import chunk_rows, kept_rows, project
from thalweg.loss.projected import Projected
from thalweg.loss.row_blocks import blocks
from thalweg.loss.token_batch import tokens
from thalweg.loss.token_loss import check_head

__all__ = ["TokenStatistics", "linear_token_statistics"]


class TokenStatistics(NamedTuple):
    """Sums over the positions that count; those of batches add up, field by field.

    Attributes:
        nll_sum: 0-dim, the targets' negative log-likelihood in nats; ``exp(nll_sum / counted)`` is the perplexity.
        correct: (K,) int64, for each k how many targets were among the k largest logits.
        counted: 0-dim int64, how many positions.
    """

    nll_sum: Tensor
    correct: Tensor
    counted: Tensor


@torch.no_grad()
def linear_token_statistics(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    ignore_index: int | None = -100,
    softcap: float | None = None,
    shift: bool = False,
    k: Sequence[int] = (1,),
) -> TokenStatistics:
    r"""Count what perplexity and top-k accuracy are made of, a chunk of logits at a time.

    A target is among the k largest logits where fewer than k logits are larger; of equal ones the first counts as
    larger, as ``argmax`` has it. A NaN is never a hit. No gradient, no wait for the device.

    Args:
        hidden: (..., D), floating point.
        weight: (V, D).
        target: (...) class indices.
        bias: (V,), or None.
        ignore_index: The index that does not count, or None.
        softcap: :math:`c` > 0: logits count as :math:`c \tanh(o / c)`.
        shift: Compare position t with the target at t + 1.
        k: For which k, each >= 1.

    Raises:
        ValueError: shapes that do not fit, a k below 1.
        TypeError: dtypes that differ, a target that is not class indices.

    >>> hidden, head = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), torch.eye(2)
    >>> linear_token_statistics(hidden, head, torch.tensor([0, 1, -100]), k=(1, 2))
    TokenStatistics(nll_sum=tensor(0.8201), correct=tensor([1, 2]), counted=tensor(2))
    """
    who = "linear_token_statistics"
    output = Projected(hidden, weight, bias)
    check_head(who, output, "head")
    if target.is_floating_point():
        raise TypeError(f"{who}: the target is {target.dtype}, and hits are counted of class indices; pass integers.")
    for each in k:
        check_number(who, "k", each, low=1)
    batch = tokens(output, target, ignored=ignore_index, shift=shift, who=who)
    assert isinstance(batch.output, Projected)
    flat, keep, index = batch.output.hidden, batch.rows.keep, batch.rows.target
    assert index is not None
    kept = kept_rows(keep)
    if kept is not None:
        flat, index, keep = flat[kept], index[kept], None
    device = hidden.device
    count = torch.full((), len(flat), device=device) if keep is None else keep.sum()
    wide = torch.float32 if hidden.dtype in (torch.float16, torch.bfloat16) else hidden.dtype
    nll = torch.zeros((), dtype=wide, device=device)
    correct = torch.zeros(len(k), dtype=torch.int64, device=device)
    limits = torch.tensor(list(k), device=device)
    order = torch.arange(len(weight), device=device)
    size = chunk_rows(len(flat), len(weight), hidden.element_size())
    with torch.autocast(device.type, enabled=False):
        for start in range(0, len(flat), size):
            chunk = project(flat[start : start + size], weight, bias, None)
            for block in blocks(chunk):
                place = slice(start + block.start, start + block.stop)
                logits, aim = chunk[block].to(wide), index[place]
                chosen = logits.gather(1, aim[:, None])
                ahead = (logits > chosen) | ((logits == chosen) & (order < aim[:, None]))
                hit = (ahead.sum(1)[:, None] < limits) & ~chosen.isnan()
                if softcap is not None:
                    logits = softcap * torch.tanh(logits / softcap)
                cost = F.cross_entropy(logits, aim, reduction="none")
                if keep is not None:
                    cost, hit = torch.where(keep[place], cost, 0.0), hit & keep[place][:, None]
                nll += cost.sum()
                correct += hit.sum(0)
    return TokenStatistics(nll, correct, count)

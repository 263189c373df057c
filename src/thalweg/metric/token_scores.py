r"""What every metric over tokens is made of: each target's negative log-likelihood, and its rank among the classes.

Both come out of one pass over the logits, a block of rows at a time, so that a model whose logits are never made (the
loss takes its hidden states and its head) is measured without making them either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ProjectedLike", "Reading", "TokenScores", "token_scores", "vocabulary"]

_BLOCK = 1 << 22  # logits that are looked at together: 16 MiB of float32


@runtime_checkable
class ProjectedLike(Protocol):
    """Logits that were never made, ``scale · hidden @ weight.T + bias``; ``thalweg.loss.Projected`` is one."""

    @property
    def hidden(self) -> Tensor: ...
    @property
    def weight(self) -> Tensor: ...
    @property
    def bias(self) -> Tensor | None: ...
    @property
    def scale(self) -> float: ...
    @property
    def softcap(self) -> float | None: ...


class Reading(NamedTuple):
    r"""How a metric reads outputs and targets.

    Attributes:
        ignore_index: the target value that does not count, or None.
        shift: whether position t is compared with target t + 1 (causal models, targets equal to the inputs).
        softcap: the cap c of :math:`c \tanh(z / c)` that the loss puts on the logits, or None.
        classes_dim: where the classes lie, -1 or 1.
    """

    ignore_index: int | None = -100
    shift: bool = False
    softcap: float | None = None
    classes_dim: int = -1


class TokenScores(NamedTuple):
    r"""Every target of a batch, shape **(N,)** each.

    Attributes:
        nll: :math:`-\log p(y)` in nats; 0 where not counted.
        rank: classes that come before the target when sorted by score (of equal ones the lower index comes first, as
            ``argmax`` has it); None where nobody asked.
        target: the class; 0 where not counted.
        counted: whether it counts.
    """

    nll: Tensor
    rank: Tensor | None
    target: Tensor
    counted: Tensor


def vocabulary(output: Any, classes_dim: int = -1) -> int:
    """Return the number of classes of an output.

    >>> vocabulary(torch.zeros(2, 3, 50))
    50
    """
    return int(output.weight.shape[0] if isinstance(output, ProjectedLike) else output.shape[classes_dim])


@torch.no_grad()
def token_scores(output: Any, target: Tensor, reading: Reading = Reading(), *, ranked: bool = True) -> TokenScores:  # noqa: B008
    r"""Return each target's negative log-likelihood and rank.

    .. math:: \ell_i = \log \sum_c e^{z_{ic}} - z_{i y_i} \qquad
              r_i = |\{c: z_{ic} > z_{i y_i}\}| + |\{c < y_i: z_{ic} = z_{i y_i}\}|

    Args:
        output: logits **(…, V)**, or what holds hidden states **(…, D)** and a head of weight **(V, D)**.
        target: classes, **(…)** of any integer dtype.
        reading: which targets count, and how positions and targets belong together.
        ranked: whether ranks are wanted.

    Raises:
        ValueError: shapes that do not fit each other.

    >>> logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    >>> scores = token_scores(logits, torch.tensor([0, 1, -100]))
    >>> scores.nll, scores.rank, scores.counted
    (tensor([0.2395, 1.0986, 0.0000]), tensor([0, 1, 0]), tensor([ True,  True, False]))
    """
    projected = isinstance(output, ProjectedLike)
    values: Tensor = output.hidden if projected else output
    if reading.classes_dim != -1 and not projected:
        values = values.movedim(reading.classes_dim, -1)
    if values.shape[:-1] != target.shape:
        raise ValueError(
            f"metric over tokens: the output has positions of shape {tuple(values.shape[:-1])} and the targets "
            f"{tuple(target.shape)}; each position needs one target."
        )
    if reading.shift:
        values, target = values[..., :-1, :], target[..., 1:]
    rows, classes = values.reshape(-1, values.shape[-1]), target.reshape(-1).long()
    counted = torch.ones_like(classes, dtype=torch.bool)
    if reading.ignore_index is not None:
        counted = classes != reading.ignore_index
        classes = torch.where(counted, classes, 0)
    nll: list[Tensor] = []
    ranks: list[Tensor] = []
    size = max(1, _BLOCK // vocabulary(output, reading.classes_dim))
    blocks = _blocks(rows, output if projected else None, reading, size)
    for logits, wanted in zip(blocks, torch.split(classes, size), strict=False):  # of no rows there is one empty part
        own = logits.gather(1, wanted[:, None])
        nll.append(logits.logsumexp(1) - own[:, 0])
        if ranked:
            before = torch.arange(logits.shape[1], device=logits.device) < wanted[:, None]
            ranks.append(((logits > own) | ((logits == own) & before)).sum(1))
    if not nll:
        nll, ranks = [rows.new_zeros(0)], [classes]
    rank = torch.where(counted, torch.cat(ranks), 0) if ranked else None
    return TokenScores(torch.where(counted, torch.cat(nll), 0), rank, classes, counted)


def _blocks(rows: Tensor, projected: ProjectedLike | None, reading: Reading, size: int) -> Iterator[Tensor]:
    """Yield the logits of *size* rows at a time, in float32 at least."""
    if not len(rows):
        return
    weight = bias = None
    if projected is not None:  # under autocast the hidden states are in half precision and the head is not
        rows = rows if projected.scale == 1.0 else rows * projected.scale
        weight = projected.weight.to(rows.dtype)
        bias = None if projected.bias is None else projected.bias.to(rows.dtype)
    for block in torch.split(rows, size):
        logits = block if weight is None else F.linear(block, weight, bias)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        if projected is not None:
            logits = _capped(logits, projected.softcap)
        yield _capped(logits, reading.softcap)


def _capped(logits: Tensor, cap: float | None) -> Tensor:
    return logits if cap is None else cap * torch.tanh(logits / cap)

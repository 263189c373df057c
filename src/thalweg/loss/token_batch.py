r"""A batch of sequences as rows of tokens: flattened, shifted once, and with a note of what counts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.loss.loss import Weight, full_precision
from thalweg.loss.projected import Projected
from thalweg.loss.token_rows import Rows

__all__ = ["Tokens", "scores_of", "tokens"]


def scores_of(output: Any) -> Any:
    """Return the logits of what a model returned, or the ``Projected`` that stands for them.

    They are the output itself, its ``"logits"`` where it is a mapping, or its attribute ``logits``. What has none of
    these is returned as it is, for ``check`` to refuse.
    """
    if isinstance(output, Tensor | Projected):
        return output
    if isinstance(output, Mapping):
        return output.get("logits", output)
    return getattr(output, "logits", output)


class Tokens(NamedTuple):
    """The rows of a batch.

    Attributes:
        output: (N, V), logits in full precision, or what stands for them.
        rows: what belongs to the rows.
        lead: (B, T) or (N,): the shape that the rows had.
        shifted: one row fewer: row i is position i with the target of position i + 1.
        dense: every position counts 1, apart from those that the shift leaves over.
    """

    output: Tensor | Projected
    rows: Rows
    lead: tuple[int, ...]
    shifted: bool
    dense: bool

    def position_weights(self) -> Tensor:
        """Return what each row adds to the weight, (N,): 0, 1, or its class weight and row weight multiplied."""
        rows = self.rows
        weight: Tensor | None = None
        if rows.class_weight is not None and rows.target is not None:
            weight = rows.class_weight[rows.target]
        if rows.factor is not None:
            weight = rows.factor if weight is None else weight * rows.factor
        if weight is None:
            weight = rows.keep
        elif rows.keep is not None:
            weight = torch.where(rows.keep, weight, 0.0)
        if weight is None:
            count = math.prod(self.lead) - self.shifted
            weight = torch.ones(max(count, 0), dtype=torch.int64, device=self._device)
        return weight

    def weight(self) -> Weight:
        """Return the weight of the whole batch; an ``int`` where no value decides it."""
        if not self.dense:
            return self.position_weights().sum()
        if not self.shifted:
            return math.prod(self.lead)
        return math.prod(self.lead[:-1]) * max(self.lead[-1] - 1, 0)

    def weight_per_row(self) -> Weight:
        """Return the weight of each row of the batch, (B,), or the ``int`` that all of them have."""
        if self.dense:
            return math.prod(self.lead[1:-1]) * max(self.lead[-1] - 1, 0) if self.shifted else math.prod(self.lead[1:])
        return self.per_batch_row(self.position_weights())

    def per_position(self, values: Tensor) -> Tensor:
        """Return (N,) values in the shape that the positions had, 0 at those that the shift leaves over."""
        if self.shifted:
            values = F.pad(values, (0, min(1, math.prod(self.lead))))
        return values.reshape(self.lead)

    def per_batch_row(self, values: Tensor) -> Tensor:
        """Return the sums over each row of the batch, (B,)."""
        values = self.per_position(values)
        return values.flatten(1).sum(1) if values.dim() > 1 else values

    @property
    def _device(self) -> torch.device:
        return self.output.device if isinstance(self.output, Tensor) else self.output.hidden.device


def tokens(
    output: Tensor | Projected,
    target: Tensor | None,
    *,
    teacher: Tensor | Projected | None = None,
    ignored: int | None = None,
    shift: bool = False,
    class_weight: Tensor | None = None,
    row_weight: Tensor | None = None,
    who: str = "tokens",
) -> Tokens:
    """Return a batch as rows. Nothing of the logits' size is copied, and no value is read.

    Args:
        output: (..., V).
        target: indices (...) or probabilities (..., V), or None where only a teacher is followed.
        teacher: (..., V), at the same positions as the output.
        ignored: the index that does not count, or None where there is none.
        shift: the output at position t is compared with the target at t + 1, and the last one with nothing.
        class_weight: (V,), on the output's device.
        row_weight: (B,).
        who: names the loss in messages.

    Raises:
        ValueError: shapes that do not fit (looked at in every step, since it costs nothing).
    """
    lead = tuple(output.shape[:-1])
    count, classes = math.prod(lead), output.shape[-1]
    soft = target is not None and target.is_floating_point()
    expected = (*lead, classes) if soft else lead
    if target is not None and tuple(target.shape) != expected:
        raise ValueError(
            f"{who}: the logits have shape {(*lead, classes)} and the target {tuple(target.shape)} of {target.dtype}, "
            f"where {expected} would fit; one target per position, the vocabulary last."
        )
    rows = Rows(class_weight=class_weight)
    keep: Tensor | None = None
    if shift:
        if len(lead) < 2:
            raise ValueError(
                f"{who}: shift=True needs sequences, logits (B, T, V), and they have shape {(*lead, classes)}; "
                "leave the sequences unflattened, or shift them yourself."
            )
        device = output.device if isinstance(output, Tensor) else output.hidden.device
        keep = torch.ones(lead, dtype=torch.bool, device=device)
        keep[..., -1] = False
        keep = keep.reshape(-1)[:-1]
    # Shifting the flat rows by one pairs position t with the target of t + 1, as views; the last position of every
    # sequence, which would get the first target of the next, is left out by `keep`.
    now, later = (slice(0, max(count - 1, 0)), slice(1, None)) if shift else (slice(None), slice(None))
    if soft:
        assert target is not None
        rows = rows._replace(soft=target.reshape(count, classes)[later])
    elif target is not None:
        index = target.reshape(-1)[later]
        index = index if index.dtype == torch.int64 else index.to(torch.int64)
        rows = rows._replace(target=index)
        if ignored is not None:
            counted = index != ignored
            keep = counted if keep is None else keep & counted
    dense = (target is None or soft or (ignored is None and class_weight is None)) and row_weight is None
    if row_weight is not None:
        if tuple(row_weight.shape) != lead[:1]:
            raise ValueError(
                f"{who}: row_weight has shape {tuple(row_weight.shape)} for a batch of {lead[0]} rows; each row has "
                f"one weight, so pass shape ({lead[0]},)."
            )
        factor = row_weight.reshape(-1, *(1,) * (len(lead) - 1)).expand(lead).reshape(-1)[now]
        counted = factor != 0
        keep = counted if keep is None else keep & counted
        rows = rows._replace(factor=factor)
    if teacher is not None:
        rows = _with_teacher(rows, teacher, count, now)
    if keep is not None:
        safe = None if rows.target is None else torch.where(keep, rows.target, 0)
        rows = rows._replace(keep=keep, target=safe)
    flat: Tensor | Projected
    if isinstance(output, Projected):
        hidden = output.hidden.reshape(count, output.hidden.shape[-1])[now]
        flat = dataclasses.replace(output, hidden=hidden)
    else:
        flat = full_precision(output.reshape(count, classes)[now])
        if rows.factor is not None:
            rows = rows._replace(factor=rows.factor.to(flat.dtype))
    return Tokens(flat, rows, lead, shift, dense)


def _with_teacher(rows: Rows, teacher: Tensor | Projected, count: int, now: slice) -> Rows:
    if isinstance(teacher, Tensor):
        return rows._replace(teacher=teacher.reshape(count, teacher.shape[-1])[now])
    hidden = teacher.scaled().reshape(count, teacher.hidden.shape[-1])[now]
    return rows._replace(teacher=hidden, teacher_weight=teacher.weight, teacher_bias=teacher.bias)

r"""What the losses over tokens share: (B, T, V) logits or a ``Projected``, a causal shift, ignored positions."""

from __future__ import annotations

import copy
import dataclasses
import functools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thalweg.loss.activation import Activation, activate
from thalweg.loss.checks import (
    check_class_indices,
    check_finite_targets,
    check_floating_output,
    check_row_weight,
    check_tensor_target,
    check_unit_interval,
)
from thalweg.loss.class_targets import check_ignore_index, class_weights
from thalweg.loss.linear_function import linear_rows_loss
from thalweg.loss.loss import Loss, Weight, full_precision
from thalweg.loss.notices import notice_probabilities
from thalweg.loss.projected import Projected
from thalweg.loss.token_batch import Tokens, scores_of, tokens
from thalweg.loss.token_rows import RowForm

__all__ = ["TokenLoss", "check_head"]

_LOOKED_AT = 256  # rows that a notice about a model's last layer looks at: all of a vocabulary's logits are many


@dataclass(frozen=True, kw_only=True)
class TokenLoss(Loss):
    r"""A sum over positions, ignored ones left out, and the weight to divide it by.

    .. math:: S = \sum_{i \text{ counts}} \ell(o_i, y_i) \qquad W = \sum_{i \text{ counts}} w_{y_i}

    The weight is counted after the shift and is an ``int`` where no value decides it. From a ``Projected`` the sum is
    computed a chunk of logits at a time; on a CPU, positions that do not count are left out before any product.

    Args:
        ignore_index: Targets with this value do not count. None: every target must be a class.
        class_weight: V numbers >= 0, one per class, or None for 1; kept as a tuple of floats.
        softcap: :math:`c` > 0: logits count as :math:`c \tanh(o / c)`. None: as they are.
        shift: The output at position t is compared with the target at t + 1 (labels as Hugging Face gives them, equal
            to the input), and the last output of a sequence with nothing.

    Shapes: output (B, T, V), (N, V) or (..., V), the vocabulary last, in a tensor, a ``Projected``, or as ``logits`` of
    a mapping or an object; the shift needs a T. Target (B, T) of any integer dtype.
    """

    ignore_index: int | None = -100
    class_weight: Sequence[float] | None = None
    softcap: float | None = None
    shift: bool = False
    activation: Activation = field(default="softmax", repr=False)
    _dense: bool = field(default=False, init=False, repr=False, compare=False)
    _weights: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    _form: RowForm = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        who = type(self).__name__
        check_ignore_index(who, self.ignore_index)
        if self.class_weight is not None:
            weights = class_weights(who, self.class_weight)
            self._set(class_weight=tuple(weights.tolist()), _weights=weights)
        self._set(_form=self.form())

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @abstractmethod
    def form(self) -> RowForm:
        """Return what one row of logits costs."""

    def parts_of(self, target: Any) -> tuple[Tensor | None, Tensor | Projected | None]:
        """Return the target's labels and the teacher, where the loss has one."""
        return target, None

    def __call__(self, output: Any, target: Any, row_weight: Tensor | None = None) -> tuple[Tensor, Weight]:
        batch = self._batch(output, target, row_weight)
        weight = batch.weight()
        if isinstance(batch.output, Projected):
            form = self._form_for(batch.output, target)
            return linear_rows_loss(form, batch.output, batch.rows, "sum", weight), weight
        return self._values(batch, blank=row_weight is not None).sum(), weight

    def per_row(self, output: Any, target: Any) -> tuple[Tensor, Weight]:
        batch = self._batch(output, target, None)
        return batch.per_batch_row(self._each(batch, target)), batch.weight_per_row()

    def per_position(self, output: Any, target: Any) -> Tensor:
        """Return what each position costs, in the shape of the positions (B, T); 0 where it does not count."""
        batch = self._batch(output, target, None)
        return batch.per_position(self._each(batch, target))

    def predict(self, output: Any) -> Any:
        """Return the predictions: the activation over the vocabulary, dim -1. A ``Projected`` makes its logits."""
        output = scores_of(output)
        logits = output.logits() if isinstance(output, Projected) else output
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return torch.softmax(logits, -1) if self.activation == "softmax" else activate(self.activation, logits)

    def specialise(self, output: Any, target: Any, targets: Tensor | None = None) -> TokenLoss:
        output = scores_of(output)
        special = copy.copy(self)
        if self._weights is not None:
            like = output.hidden if isinstance(output, Projected) else output
            ready = full_precision(like)
            special._set(_weights=self._weights.to(device=ready.device, dtype=ready.dtype))
        if targets is not None and not targets.is_floating_point():
            check_class_indices(type(self).__name__, targets, output.shape[-1], self.ignore_index)
            if self.ignore_index is not None:
                special._set(_dense=not bool((targets == self.ignore_index).any()))
        return special

    def check(self, output: Any, target: Any, row_weight: Tensor | None = None) -> None:
        who = type(self).__name__
        output = scores_of(output)
        if isinstance(output, Projected):
            check_head(who, output, "head")
            self._form_for(output, target)
        else:
            check_floating_output(who, output)
            if output.dim() < 2:
                raise ValueError(
                    f"{who}: the output has shape {tuple(output.shape)} and must hold one score per class of the "
                    "vocabulary for each position, (B, T, V) or (N, V); return the logits."
                )
        labels, _ = self.parts_of(target)
        classes = output.shape[-1]
        if self.class_weight is not None and len(self.class_weight) != classes:
            raise ValueError(
                f"{who}: class_weight has {len(self.class_weight)} numbers and the vocabulary has {classes}; each "
                "class needs one number."
            )
        check_row_weight(who, output.shape[0], row_weight)
        if labels is not None:
            self.check_labels(output, labels)
        self._batch(output, target, row_weight)  # raises where shapes do not fit
        if isinstance(output, Tensor) and self.activation == "softmax":
            notice_probabilities(who, output.detach().reshape(-1, classes)[:_LOOKED_AT])

    def check_labels(self, output: Tensor | Projected, labels: Any) -> None:
        """Raise where labels cannot work: their dtype, an index outside of the vocabulary, a bad probability."""
        who, classes = type(self).__name__, output.shape[-1]
        check_tensor_target(who, labels)
        shapes = f"{who}: the logits have shape {tuple(output.shape)} and the target {tuple(labels.shape)}"
        if labels.is_floating_point() and labels.shape == output.shape[:-1]:
            raise TypeError(f"{shapes} of {labels.dtype}, and class indices are whole numbers; pass target.long().")
        if labels.shape == output.shape and not labels.is_floating_point():
            raise TypeError(
                f"{shapes} of {labels.dtype}; of the logits' shape are class probabilities, which are floats; pass "
                "target.argmax(-1) for indices, or target.float()."
            )
        if labels.is_floating_point():
            check_finite_targets(who, labels)
            check_unit_interval(who, "target", labels, "class probabilities do")
        else:
            check_class_indices(who, labels, classes, self.ignore_index)

    def _batch(self, output: Any, target: Any, row_weight: Tensor | None) -> Tokens:
        output = scores_of(output)
        labels, teacher = self.parts_of(target)
        weights = self._weights
        if weights is not None:  # no-op once specialised
            like = output.hidden if isinstance(output, Projected) else output
            wide = torch.float32 if like.dtype in (torch.float16, torch.bfloat16) else like.dtype
            weights = weights.to(device=like.device, dtype=wide)
        if isinstance(teacher, Projected) and not isinstance(output, Projected):
            with torch.no_grad():
                teacher = teacher.logits()
        return tokens(
            output,
            labels,
            teacher=teacher,
            ignored=None if self._dense else self.ignore_index,
            shift=self.shift,
            class_weight=weights,
            row_weight=row_weight,
            who=type(self).__name__,
        )

    def _each(self, batch: Tokens, target: Any) -> Tensor:
        """Return what each row of the batch costs, (N,)."""
        if isinstance(batch.output, Projected):
            return linear_rows_loss(self._form_for(batch.output, target), batch.output, batch.rows, "none")
        return self._values(batch)

    def _values(self, batch: Tokens, blank: bool = False) -> Tensor:
        """Return what each row of logits costs times its factor, (N,); 0 where it does not count."""
        logits, rows = batch.output, batch.rows
        assert isinstance(logits, Tensor)
        if blank and rows.keep is not None:  # nothing that stands in a row left out reaches the gradient
            column = rows.keep[:, None]
            logits = torch.where(column, logits, 0.0)
            rows = rows._replace(
                soft=None if rows.soft is None else torch.where(column, rows.soft, 0.0),
                teacher=None if rows.teacher is None else torch.where(column, rows.teacher, 0.0),
            )
        if rows.teacher is not None:
            rows = rows._replace(teacher=rows.teacher.detach())
        values = self._form.values(logits, rows)
        if rows.factor is not None:
            values = values * rows.factor
        return values if rows.keep is None else torch.where(rows.keep, values, 0.0)

    def _form_for(self, output: Projected, target: Any) -> RowForm:
        """Return the form with the caps that the models put on their logits."""
        _, teacher = self.parts_of(target)
        teacher_cap = teacher.softcap if isinstance(teacher, Projected) else None
        if output.softcap is None and teacher_cap is None:
            return self._form
        if output.softcap is not None and self.softcap is not None:
            raise ValueError(
                f"{type(self).__name__}: softcap={self.softcap} was asked for, and the model caps its logits itself at "
                f"{output.softcap}; leave one of them out."
            )
        return _capped(self._form, output.softcap or self.softcap, teacher_cap)


@functools.lru_cache(maxsize=64)
def _capped(form: RowForm, softcap: float | None, teacher: float | None) -> RowForm:
    if teacher is None:
        return dataclasses.replace(form, softcap=softcap)
    return dataclasses.replace(form, softcap=softcap, teacher_softcap=teacher)  # type: ignore[call-arg]


def check_head(who: str, output: Projected, what: str) -> None:
    """Raise where hidden states, weight and bias of a ``Projected`` do not fit each other.

    Raises:
        TypeError: dtypes that have no gradient, or that differ.
        ValueError: shapes.
    """
    check_floating_output(who, output.hidden)
    hidden, weight, bias = output.hidden, output.weight, output.bias
    if hidden.dim() < 2 or weight.dim() != 2 or hidden.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"{who}: the hidden states have shape {tuple(hidden.shape)} and the {what}'s weight {tuple(weight.shape)}, "
            "which must be (..., D) and (V, D); a weight stored as (D, V) is passed as weight.t()."
        )
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError(
            f"{who}: the {what}'s bias has shape {tuple(bias.shape)} and must have one number for each of the "
            f"{weight.shape[0]} classes, ({weight.shape[0]},)."
        )
    if hidden.dtype != weight.dtype and not torch.is_autocast_enabled(hidden.device.type):
        raise TypeError(
            f"{who}: the hidden states are {hidden.dtype} and the {what}'s weight {weight.dtype}; convert one of them, "
            "or use autocast."
        )
    if hidden.device != weight.device:
        raise ValueError(
            f"{who}: the hidden states are on {hidden.device} and the {what}'s weight on {weight.device}; move one."
        )

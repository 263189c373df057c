r"""What one row of logits costs, and its derivative: the part of a token loss that knows nothing of batches.

A form has two methods that must agree. ``values`` is made of differentiable operations and serves logits that are
already there. ``differentiate_`` replaces a block of logits by the derivative, in place; it serves the linear losses,
which never hold more than a chunk of logits (``linear_chunks``).

Legend of the shapes: N rows (tokens), R of them in a block, V classes (the vocabulary), D hidden features.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from thalweg.errors import check_number
from thalweg.loss.linear_kernel import SmoothedRows

__all__ = ["BOUND", "RowForm", "Rows"]

#: Where no logit exceeds this in size, the sum of their exponentials neither overflows in float32 nor loses anything to
#: underflow that is not far below the rounding of the rest.
BOUND = 60.0


class Rows(NamedTuple):
    """What belongs to the rows beside their logits; whatever a loss does not use is None.

    Attributes:
        target: (N,) int64 class indices, all of them valid (an ignored one is replaced by 0 and left out by *keep*).
        soft: (N, V) class probabilities instead of indices.
        factor: (N,) what each row's value is multiplied with, by whoever adds the rows up.
        class_weight: (V,), which counts in the loss's weight too.
        class_factor: (V,), which does not.
        teacher: (N, V) the teacher's logits, or (N, E) its hidden states where ``teacher_weight`` is given.
        teacher_weight: (V, E).
        teacher_bias: (V,).
        keep: (N,) bool; where False, the row's value and gradient are 0 whatever else stands there.
    """

    target: Tensor | None = None
    soft: Tensor | None = None
    factor: Tensor | None = None
    class_weight: Tensor | None = None
    class_factor: Tensor | None = None
    teacher: Tensor | None = None
    teacher_weight: Tensor | None = None
    teacher_bias: Tensor | None = None
    keep: Tensor | None = None

    def take(self, index: slice | Tensor) -> Rows:
        """Return the rows *index* of every tensor that has rows."""
        return self._replace(
            target=None if self.target is None else self.target[index],
            soft=None if self.soft is None else self.soft[index],
            factor=None if self.factor is None else self.factor[index],
            teacher=None if self.teacher is None else self.teacher[index],
            keep=None if self.keep is None else self.keep[index],
        )


@dataclass(frozen=True, kw_only=True)
class RowForm(ABC):
    r"""The cost of a row of logits, with the logits' soft cap.

    .. math:: \ell\!\left(c \tanh(o / c)\right)

    Args:
        softcap: :math:`c` > 0, or None for the logits as they are.

    Raises:
        ValueError: softcap that is not positive and finite.
    """

    who: ClassVar[str]  # the loss that the form is part of, for messages

    @property
    def asks_bound(self) -> bool:
        """Whether ``differentiate_bounded_`` is worth the bound that it asks for."""
        return False

    softcap: float | None = None

    def smoothed(self, rows: Rows) -> SmoothedRows | None:
        """Return what ``linear_kernel`` needs to know where the cost is a smoothed cross entropy, None elsewhere."""
        return None

    @staticmethod
    def of_target(rows: Rows) -> Tensor | None:
        """Return the class weight of each row's target, (R,), or None for 1."""
        if rows.class_weight is None or rows.target is None:
            return None
        return rows.class_weight[rows.target]

    def __post_init__(self) -> None:
        if self.softcap is not None:
            self.check_option("softcap", self.softcap, low_open=True, advice="None is no cap")

    def check_option(self, name: str, value: float, **bounds: Any) -> None:
        """Raise unless the option is finite, at least 0 and within *bounds* (``check_number``)."""
        check_number(self.who, name, value, **({"low": 0.0, "high": math.inf, "high_open": True} | bounds))

    def values(self, logits: Tensor, rows: Rows) -> Tensor:
        """Return what each row costs, (R,), differentiable in *logits* (R, V)."""
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return self.row_values(logits, rows)

    def differentiate_(self, logits: Tensor, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """Return what each row costs, (R,), and leave its derivative in *logits* (R, V), up to a factor per row.

        Returns:
            The costs, and the factors (R,) or None for 1: the derivative is the factor times what *logits* holds. A
            factor per row is worth keeping apart, because it can be applied to the D features instead of V classes.
        """
        if self.softcap is None:
            return self.row_differentiate_(logits, rows)
        # d/do c tanh(o / c) = 1 - tanh²(o / c)
        tanh = logits.div_(self.softcap).tanh_()
        slope = torch.addcmul(tanh.new_ones(()), tanh, tanh, value=-1.0)
        found = self.row_differentiate_(tanh.mul_(self.softcap), rows)
        logits.mul_(slope)
        return found

    def differentiate_bounded_(self, logits: Tensor, rows: Rows, bound: float) -> tuple[Tensor, Tensor | None] | None:
        """As ``differentiate_`` over a whole chunk none of whose logits exceeds *bound* in size; None: it is too large.

        Who knows the bound need not look for the largest logit of a row before the exponentials.
        """
        return None

    @abstractmethod
    def row_values(self, logits: Tensor, rows: Rows) -> Tensor:
        """``values`` without the cap."""

    @abstractmethod
    def row_differentiate_(self, logits: Tensor, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """``differentiate_`` without the cap."""

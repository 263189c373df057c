r"""Losses that compare each element of the output with the same element of the target.

The place for another one: a new file beside ``mse.py`` with a frozen dataclass that says what one element costs, and a
line in ``names.py``.
"""

from __future__ import annotations

import math
from abc import abstractmethod

from torch import Tensor

from thalweg.loss.checks import check_finite_targets, check_floating_output, check_row_weight, check_same_shape
from thalweg.loss.loss import Loss, Weight, full_precision

__all__ = ["Elementwise"]


class Elementwise(Loss):
    r"""The sum over all elements, its weight their number: ``sum / weight`` is torch's ``reduction="mean"``.

    .. math:: S = \sum_{i=1}^{n} \ell(o_i, y_i) \qquad W = n

    Shapes: output and target (B, ...) alike; nothing is broadcast. Targets are converted to the dtype of the output
    (float32 for half-precision outputs): integers and bools become numbers, float64 is rounded to float32.
    """

    @abstractmethod
    def elements(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        """Return what the elements cost; *reduction* is torch's ``"sum"`` or ``"none"``."""

    def __call__(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> tuple[Tensor, Weight]:
        if row_weight is not None:
            return self.weigh_rows(output, target, row_weight)
        output, target = self._alike(output, target)
        return self.elements(output, target, "sum"), output.numel()

    def per_row(self, output: Tensor, target: Tensor) -> tuple[Tensor, Weight]:
        output, target = self._alike(output, target)
        values = self.elements(output, target, "none")
        return (values.flatten(1).sum(1) if values.dim() > 1 else values), math.prod(output.shape[1:])

    def check(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> None:
        who = type(self).__name__
        check_floating_output(who, output)
        check_same_shape(who, output, target)
        check_row_weight(who, output.shape[0] if output.dim() else 1, row_weight)
        self.check_targets(target)

    def check_targets(self, target: Tensor) -> None:
        """Raise where a target's value cannot work."""
        check_finite_targets(type(self).__name__, target)

    def specialise(self, output: Tensor, target: Tensor, targets: Tensor | None = None) -> Loss:
        if targets is not None:
            self.check_targets(targets)
        return self

    def _alike(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if output.shape != target.shape:
            check_same_shape(type(self).__name__, output, target)
        output = full_precision(output)
        return output, target if target.dtype == output.dtype else target.to(output.dtype)

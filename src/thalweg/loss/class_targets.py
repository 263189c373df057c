r"""Losses whose target is a class index: which targets count, and how much.

``CrossEntropy`` and ``NLL`` stand on this. The losses over tokens, whose output is (B, T, C), stand on ``token_loss``:
here the classes are always dim 1, as in torch.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import check_number
from thalweg.loss.activation import Activation
from thalweg.loss.checks import (
    check_class_indices,
    check_finite_targets,
    check_floating_output,
    check_row_weight,
    check_tensor_target,
    check_unit_interval,
)
from thalweg.loss.loss import Loss, Weight, full_precision

__all__ = ["ClassLoss", "check_ignore_index", "class_weights"]

# Passed to torch where nothing may be ignored; no target can hold it, so torch's own default of -100 is not ignored.
_NOTHING = torch.iinfo(torch.int64).min


@dataclass(frozen=True, kw_only=True)
class ClassLoss(Loss):
    r"""A sum over positions, each weighted with the weight :math:`w` of its class, ignored ones left out.

    .. math:: S = \sum_{i: y_i \ne \text{ignore}} w_{y_i} \ell(o_i, y_i) \qquad
              W = \sum_{i: y_i \ne \text{ignore}} w_{y_i}

    Without class weights :math:`w = 1`. Counting what is ignored costs an operation per step; ``specialise`` with all
    targets saves it where there is nothing to ignore.

    Args:
        ignore_index: Targets with this value do not count. None: every target must be a class, and the weight is known
            without looking.
        class_weight: C numbers >= 0, one per class; kept as a tuple of floats. ``sum / weight`` stays a weighted mean,
            so a common factor changes nothing.
    """

    ignore_index: int | None = -100
    class_weight: Sequence[float] | None = None
    activation: Activation = field(default="softmax", repr=False)
    _ignored: int = field(default=_NOTHING, init=False, repr=False, compare=False)
    _dense: bool = field(default=False, init=False, repr=False, compare=False)
    _weights: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        who = type(self).__name__
        check_ignore_index(who, self.ignore_index)
        self._set(_dense=self.ignore_index is None)
        if self.ignore_index is not None:
            self._set(_ignored=self.ignore_index)
        if self.class_weight is not None:
            weights = class_weights(who, self.class_weight)
            self._set(class_weight=tuple(weights.tolist()), _weights=weights)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @abstractmethod
    def positions(self, output: Tensor, target: Tensor, class_weight: Tensor | None, reduction: str) -> Tensor:
        """Return what the positions cost; *reduction* is torch's ``"sum"`` or ``"none"``."""

    def __call__(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> tuple[Tensor, Weight]:
        if row_weight is not None:
            return self.weigh_rows(output, target, row_weight)
        output, target, weights = self._ready(output, target)
        total = self.positions(output, target, weights, "sum")
        if target.is_floating_point():
            return total, target.numel() // target.shape[1]
        if self._dense and weights is None:
            return total, target.numel()
        return total, self._position_weights(target, weights).sum()

    def per_row(self, output: Tensor, target: Tensor) -> tuple[Tensor, Weight]:
        output, target, weights = self._ready(output, target)
        values = self.positions(output, target, weights, "none")
        sums = values.flatten(1).sum(1) if values.dim() > 1 else values
        if target.is_floating_point() or (self._dense and weights is None):
            return sums, math.prod(values.shape[1:])
        counts = self._position_weights(target, weights)
        return sums, counts.flatten(1).sum(1) if counts.dim() > 1 else counts

    def specialise(self, output: Tensor, target: Tensor, targets: Tensor | None = None) -> ClassLoss:
        special = copy.copy(self)
        if self._weights is not None:
            ready = full_precision(output)
            special._set(_weights=self._weights.to(device=ready.device, dtype=ready.dtype))
        if targets is not None:
            self.check_targets(targets, output.shape[1])
            if not targets.is_floating_point() and self.ignore_index is not None:
                special._set(_dense=not bool((targets == self.ignore_index).any()))
        return special

    def check(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> None:
        who = type(self).__name__
        check_floating_output(who, output)
        check_tensor_target(who, target)
        self.check_shapes(output, target)
        classes = output.shape[1]
        if self.class_weight is not None and len(self.class_weight) != classes:
            raise ValueError(
                f"{who}: class_weight has {len(self.class_weight)} numbers and the output has {classes} classes; each "
                f"class needs one number."
            )
        check_row_weight(who, output.shape[0], row_weight)
        self.check_targets(target, classes)

    def check_shapes(self, output: Tensor, target: Tensor) -> None:
        """Raise unless output (B, C, d...) and target, indices (B, d...), fit each other.

        Raises:
            TypeError: class indices that are floats, or one-hot rows that are integers.
            ValueError: shapes that do not fit.
        """
        who = type(self).__name__
        outputs, targets = tuple(output.shape), tuple(target.shape)
        if output.dim() < 2 or outputs[1] == 1:
            raise ValueError(
                f"{who}: output has shape {outputs} and must hold one score per class, (B, C) with C >= 2; for two "
                "classes from one score use binary_cross_entropy."
            )
        shapes = f"{who}: output has shape {outputs} and target {targets} of {target.dtype}"
        expected = (outputs[0], *outputs[2:])
        if targets == expected:
            if target.is_floating_point():
                raise TypeError(f"{shapes}, and class indices are whole numbers; pass target.long().")
            return
        if targets == outputs:
            if not target.is_floating_point():
                raise TypeError(
                    f"{shapes}; of the output's shape are class probabilities, which are floats; pass target.argmax(1) "
                    f"for indices, or target.float()."
                )
            raise TypeError(f"{shapes}, and {who} takes class indices only; pass target.argmax(1).")
        if targets == (*expected, 1):
            advice = f"pass target.squeeze({len(expected)})"
        elif output.dim() > 2 and targets == outputs[:-1]:
            advice = "the classes must be dim 1: pass output.movedim(-1, 1)"
        elif targets[:1] != outputs[:1]:
            advice = f"output and target must have the same number of rows: {outputs[0]} against {(targets or (1,))[0]}"
        else:
            advice = "return (B, C, d...) from the model for targets (B, d...)"
        raise ValueError(f"{shapes}, where class indices of shape {expected} would fit; {advice}.")

    def check_targets(self, target: Tensor, classes: int) -> None:
        """Raise where a target's value cannot work.

        Raises:
            ValueError: a class index outside 0 to classes - 1 that is not ignored; a class probability that is NaN or
                outside [0, 1].
        """
        who = type(self).__name__
        if target.is_floating_point():
            check_finite_targets(who, target)
            check_unit_interval(who, "target", target, "class probabilities do")
            return
        check_class_indices(who, target, classes, self.ignore_index)

    def _ready(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        output = full_precision(output)
        if target.dtype != torch.int64:
            target = target.to(output.dtype if target.is_floating_point() else torch.int64)
        weights = self._weights
        if weights is not None:  # no-op once specialised
            weights = weights.to(device=output.device, dtype=output.dtype)
        return output, target, weights

    def _position_weights(self, target: Tensor, class_weight: Tensor | None) -> Tensor:
        """Return what each position adds to the weight, in the shape of *target*."""
        if self._dense:
            assert class_weight is not None
            return class_weight[target]
        counted = target != self._ignored
        if class_weight is None:
            return counted
        return torch.where(counted, class_weight[torch.where(counted, target, 0)], 0.0)


def check_ignore_index(who: str, ignore_index: object) -> None:
    """Raise unless *ignore_index* is a whole number or None.

    Raises:
        TypeError: something else.
    """
    if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, int)):
        raise TypeError(
            f"{who}: ignore_index={ignore_index!r} must be a whole number or None, "
            f"got {type(ignore_index).__name__}; -100 is torch's default."
        )


def class_weights(who: str, class_weight: Sequence[float] | Tensor, name: str = "class_weight") -> Tensor:
    """Return one number per class as float64 on the CPU, (C,).

    Raises:
        ValueError: another shape, a number that is negative, infinite or NaN.

    >>> class_weights("CrossEntropy", [1, 2]).tolist()
    [1.0, 2.0]
    """
    weights = torch.as_tensor(class_weight, dtype=torch.float64, device="cpu")
    if weights.dim() != 1 or not len(weights):
        raise ValueError(
            f"{who}: {name} has shape {tuple(weights.shape)} and must be (C,), one number per class; "
            "pass a list of C numbers."
        )
    bad = ~(torch.isfinite(weights) & (weights >= 0))
    if bool(bad.any()):  # names the first one
        index = int(bad.nonzero()[0])
        check_number(
            who,
            f"{name}[{index}]",
            float(weights[index]),
            low=0.0,
            high=math.inf,
            high_open=True,
            advice="0 drops a class",
        )
    return weights

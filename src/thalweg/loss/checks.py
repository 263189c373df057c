"""What the losses refuse before the first step, said in one way.

These functions look at tensor values, so they belong into ``Loss.check`` and ``Loss.specialise``, never into a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "check_class_indices",
    "check_finite_targets",
    "check_floating_output",
    "check_row_weight",
    "check_same_shape",
    "check_tensor_target",
    "check_unit_interval",
]


def check_floating_output(who: str, output: object) -> None:
    """Raise unless the model returned one floating-point tensor.

    Raises:
        TypeError: not a tensor, or one that has no gradient (integers).

    >>> check_floating_output("MSE", (torch.zeros(2), torch.zeros(2)))
    Traceback (most recent call last):
    ...
    TypeError: MSE: needs one output tensor, the model returned a tuple; return the tensor to score, or write the \
loss as a callable (Custom).
    """
    if not isinstance(output, Tensor):
        kind = type(output).__name__
        raise TypeError(
            f"{who}: needs one output tensor, the model returned a {kind}; return the tensor to score, or write the "
            f"loss as a callable (Custom)."
        )
    if not output.is_floating_point():
        raise TypeError(
            f"{who}: needs a floating-point output, the model returned {output.dtype}, which has no gradient; return "
            f"the scores themselves, before argmax or rounding."
        )


def check_tensor_target(who: str, target: object) -> None:
    """Raise unless the target is a tensor.

    Raises:
        TypeError: something else.

    >>> check_tensor_target("MSE", [1.0])
    Traceback (most recent call last):
    ...
    TypeError: MSE: needs a target tensor, got list; pass the targets as one tensor.
    """
    if not isinstance(target, Tensor):
        raise TypeError(f"{who}: needs a target tensor, got {type(target).__name__}; pass the targets as one tensor.")


def check_same_shape(who: str, output: Tensor, target: Tensor) -> None:
    """Raise unless output and target have the same shape: broadcasting would compare the wrong pairs.

    Looks at shapes only, so it may run in a step.

    Raises:
        TypeError: the target is not a tensor.
        ValueError: the shapes differ.

    >>> check_same_shape("MSE", torch.zeros(4, 1), torch.zeros(4))
    Traceback (most recent call last):
    ...
    ValueError: MSE: output has shape (4, 1) and target (4,), and broadcasting would compare every output with every \
target; use target.unsqueeze(1), or squeeze(1) the output in the model.
    """
    check_tensor_target(who, target)
    if output.shape == target.shape:
        return
    shapes = f"{who}: output has shape {tuple(output.shape)} and target {tuple(target.shape)}"
    trap = "and broadcasting would compare every output with every target"
    if output.shape == (*target.shape, 1):
        dim = target.dim()
        raise ValueError(f"{shapes}, {trap}; use target.unsqueeze({dim}), or squeeze({dim}) the output in the model.")
    if target.shape == (*output.shape, 1):
        raise ValueError(f"{shapes}, {trap}; use target.squeeze({output.dim()}).")
    raise ValueError(f"{shapes}, which must be equal; give the model as many outputs as there are targets in a row.")


def _first_row(bad: Tensor) -> int:
    return int(bad.nonzero()[0, 0]) if bad.dim() else 0


def check_finite_targets(who: str, target: Tensor) -> None:
    """Raise where a target is NaN or infinite.

    Raises:
        ValueError: names the first row.

    >>> check_finite_targets("MSE", torch.tensor([0.0, float("nan")]))
    Traceback (most recent call last):
    ...
    ValueError: MSE: target holds nan at row 1 (1 of 2 values are not finite), and one makes the whole loss nan; \
remove or fill those rows, or give them row weight 0 and a finite target.
    """
    if not target.is_floating_point():
        return
    bad = ~torch.isfinite(target)
    if bool(bad.any()):
        value = target[bad][0].item()
        raise ValueError(
            f"{who}: target holds {value} at row {_first_row(bad)} ({int(bad.sum())} of {target.numel()} values are "
            f"not finite), and one makes the whole loss {value}; remove or fill those rows, or give them row weight "
            "0 and a finite target."
        )


def check_unit_interval(who: str, what: str, value: Tensor, advice: str) -> None:
    """Raise where *value* leaves [0, 1].

    Raises:
        ValueError: names the first row.

    >>> check_unit_interval("BinaryCrossEntropy", "target", torch.tensor([0, 1, -1]), "map -1 to 0")
    Traceback (most recent call last):
    ...
    ValueError: BinaryCrossEntropy: target holds -1 at row 2, and it must lie within [0, 1]; map -1 to 0.
    """
    bad = (value < 0) | (value > 1)
    if bool(bad.any()):
        first = value[bad][0].item()
        raise ValueError(
            f"{who}: {what} holds {first:g} at row {_first_row(bad)}, and it must lie within [0, 1]; {advice}."
        )


def check_row_weight(who: str, rows: int, row_weight: Tensor | None) -> None:
    """Raise unless *row_weight* is None or (rows,), finite and >= 0.

    Raises:
        ValueError: another shape, NaN, infinite or negative weights.

    >>> check_row_weight("MSE", 2, torch.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    ...
    ValueError: MSE: row_weight holds -1 at row 1; weights must be finite and >= 0, 0 leaves a row out.
    """
    if row_weight is None:
        return
    if row_weight.shape != (rows,):
        raise ValueError(
            f"{who}: row_weight has shape {tuple(row_weight.shape)} for a batch of {rows} rows; each row has one "
            f"weight, so pass shape ({rows},)."
        )
    if row_weight.dtype == torch.bool:
        return
    bad = ~(torch.isfinite(row_weight) & (row_weight >= 0))
    if bool(bad.any()):
        value = row_weight[bad][0].item()
        raise ValueError(
            f"{who}: row_weight holds {value:g} at row {_first_row(bad)}; weights must be finite and >= 0, 0 leaves "
            "a row out."
        )


def check_class_indices(who: str, target: Tensor, classes: int, ignore_index: int | None = None) -> None:
    """Raise where a class index is not one of 0 to *classes* - 1, nor *ignore_index*.

    Raises:
        ValueError: names the value, its row and the range.

    >>> check_class_indices("CrossEntropy", torch.tensor([0, 3, 1]), 3)
    Traceback (most recent call last):
    ...
    ValueError: CrossEntropy: target holds class 3 at row 1, and the output has 3 classes (0 to 2); number the classes \
from 0, or give the model 4 outputs.
    """
    target = target.to(torch.int64) if target.dtype in (torch.bool, torch.uint8) else target
    bad = (target < 0) | (target >= classes)
    if ignore_index is not None:
        bad &= target != ignore_index
    if not bool(bad.any()):
        return
    value = int(target[bad][0])
    ignored = "" if ignore_index is None else f", and {ignore_index} is ignored"
    remedy = (
        f"pass ignore_index={value} if it marks missing targets, else number the classes from 0"
        if value < 0
        else f"number the classes from 0, or give the model {int(target.max()) + 1} outputs"
    )
    raise ValueError(
        f"{who}: target holds class {value} at row {_first_row(bad)}, and the output has {classes} classes (0 to "
        f"{classes - 1}{ignored}); {remedy}."
    )

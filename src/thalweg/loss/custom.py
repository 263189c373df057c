r"""A user's own loss, written as a function of (output, target)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from thalweg.loss.activation import Activation
from thalweg.loss.checks import check_row_weight
from thalweg.loss.loss import Loss, Weight, full_precision

__all__ = ["Custom"]

Kind = Literal["rows", "pair", "scalar"]


@dataclass(frozen=True)
class Custom(Loss):
    r"""A loss from a callable ``fn(output, target)``.

    ====================  ==================================  =======================================================
    fn returns            sum                                 weight
    ====================  ==================================  =======================================================
    (B,), one per row     :math:`\sum_i v_i w_i`              :math:`\sum_i w_i`, with w = 1 unless ``weight`` says
    a pair                its first                           its second: a number or a 0-dim tensor
    one number v          :math:`v \, w`                      w as ``weight`` says, else 1
    ====================  ==================================  =======================================================

    One number per batch is a mean over something, and only ``weight`` knows over what. Without it the number is used
    as it is, with weight 1, which is exact as long as one batch is one update; accumulation or several processes are
    refused (``require_splittable``), because the mean of means is not the mean.

    Args:
        fn: ``fn(output, target)``; a function or a module without parameters. ``output`` and ``target`` are passed as
            the model and the data give them, also as tuples or dicts.
        weight: What *fn* is a mean over: ``"rows"``, or a callable ``weight(output, target)`` that returns the total
            weight (for one number) or (B,) weights (for one number per row). Where a batch may hold nothing at all
            (weight 0), let *fn* return a pair instead: 0 times its NaN would be NaN.
        activation: How outputs become predictions: ``"softmax"``, ``"sigmoid"``, ``"exp"``, ``"none"`` or a callable.

    Shapes: those of *fn*; the batch is the first dimension of the first tensor in the target, or in the output.

    Raises:
        TypeError: *fn* is not callable, or returns something else (from ``check`` and from the loss itself).
        ValueError: an unknown weight or activation; a module with parameters; a shape that is neither () nor (B,).

    >>> absolute = Custom(lambda output, target: (output - target).abs().mean(1))
    >>> absolute(torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.zeros(2, 2))
    (tensor(2.), 2)
    >>> mean = Custom(lambda output, target: (output - target).abs().mean(), weight="rows")
    >>> mean(torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.zeros(2, 2))
    (tensor(2.), 2)
    """

    fn: Callable[[Any, Any], Any]
    weight: Literal["rows"] | Callable[[Any, Any], Any] | None = None
    activation: Activation = "none"
    _kind: Kind | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.fn):
            raise TypeError(f"Custom: fn={self.fn!r} must be callable as fn(output, target); pass a function.")
        if not (self.weight is None or self.weight == "rows" or callable(self.weight)):
            raise ValueError(
                f"Custom: weight={self.weight!r} must be 'rows', a callable weight(output, target), or None; 'rows' "
                f"where {self.name} returns the mean over the rows of a batch."
            )
        if isinstance(self.fn, nn.Module) and any(True for _ in self.fn.parameters()):
            raise ValueError(
                f"Custom: {self.name} has parameters, and the optimizer would not see them; make the module a part "
                "of the model, which may return what the loss needs."
            )

    @property
    def name(self) -> str:
        """The name of the function, or of the class of the callable object."""
        return str(getattr(self.fn, "__name__", type(self.fn).__name__))

    @property
    def splittable(self) -> bool:
        """False also before ``specialise`` has seen what the function returns, unless ``weight`` is given."""
        return self.weight is not None or self._kind in ("rows", "pair")

    def require_splittable(self, reason: str) -> None:
        if not self.splittable:
            raise ValueError(
                f"Custom({self.name}): returns one number per batch, and {reason} needs to know what it is a mean "
                "over; pass weight='rows' where it is the mean over rows, or let it return (B,) losses or (sum, "
                "weight)."
            )

    def __call__(self, output: Any, target: Any, row_weight: Tensor | None = None) -> tuple[Tensor, Weight]:
        if row_weight is not None:
            return self.weigh_rows(output, target, row_weight, blank=False)
        value = self.fn(output, target)
        kind = self._kind_of(value, output, target)
        if kind == "pair":
            return value[0], value[1]
        value, weight = full_precision(value), self._weight_of(output, target)
        if kind == "scalar":
            return (value, 1) if weight is None else (value * weight, weight)
        if weight is None or isinstance(weight, int):
            return value.sum(), len(value)
        return (value * weight).sum(), weight.sum()

    def per_row(self, output: Any, target: Any) -> tuple[Tensor, Weight]:
        value = self.fn(output, target)
        if self._kind_of(value, output, target) != "rows":
            raise ValueError(
                f"Custom({self.name}): row weights need a loss per row, and it returns one number per batch; let it "
                f"return a tensor of shape ({_rows(output, target)},)."
            )
        value, weight = full_precision(value), self._weight_of(output, target)
        if weight is None or isinstance(weight, int):
            return value, 1
        return value * weight, weight

    def check(self, output: Any, target: Any, row_weight: Tensor | None = None) -> None:
        self._probe(output, target)
        if row_weight is not None:
            check_row_weight(f"Custom({self.name})", _rows(output, target), row_weight)
            with torch.no_grad():
                self.weigh_rows(output, target, row_weight, blank=False)

    def specialise(self, output: Any, target: Any, targets: Tensor | None = None) -> Custom:
        """Return the same loss knowing what its function returns; calls it once, without gradients."""
        special = copy.copy(self)
        if isinstance(output, Tensor) and isinstance(self.fn, nn.Module) and any(True for _ in self.fn.buffers()):
            object.__setattr__(special, "fn", copy.deepcopy(self.fn).to(output.device))
        object.__setattr__(special, "_kind", special._probe(output, target))
        return special

    def _probe(self, output: Any, target: Any) -> Kind:
        with torch.no_grad():
            return self._kind_of(self.fn(output, target), output, target)

    def _weight_of(self, output: Any, target: Any) -> Any:
        if self.weight is None:
            return None
        return _rows(output, target) if self.weight == "rows" else self.weight(output, target)

    def _kind_of(self, value: Any, output: Any, target: Any) -> Kind:
        who = f"Custom({self.name})"
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Tensor) and value[0].dim() == 0:
            return "pair"
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{who}: returned {type(value).__name__}, and a loss is a tensor: one number, (B,) losses of the "
                "rows, or the pair (sum, weight); return one of these."
            )
        if value.dim() == 0:
            return "scalar"
        rows = _rows(output, target)
        if value.shape != (rows,):
            raise ValueError(
                f"{who}: returned shape {tuple(value.shape)} for a batch of {rows} rows, which is neither one number "
                f"nor ({rows},); reduce it to one loss per row, for instance with .flatten(1).mean(1)."
            )
        return "rows"


def _rows(output: Any, target: Any) -> int:
    for value in (target, output):
        while not isinstance(value, Tensor) and isinstance(value, dict | list | tuple) and len(value):
            value = next(iter(value.values())) if isinstance(value, dict) else value[0]
        if isinstance(value, Tensor) and value.dim():
            return value.shape[0]
    raise ValueError("Custom: neither target nor output holds a tensor with a batch dimension; return (sum, weight).")

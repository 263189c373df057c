"""A metric from a function. This file imports torchmetrics; it is loaded when the first such metric is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchmetrics
from torch import Tensor

__all__ = ["FunctionMetric"]


class FunctionMetric(torchmetrics.Metric):
    r"""The mean over rows of a function of (prediction, target).

    .. math:: m = \frac{\sum_b \sum_{i \in b} f_i}{\sum_b B_b}

    over batches b of B rows; where the function returns one number per batch, it counts B times.

    Args:
        fn: ``fn(prediction, target)`` that returns (B,) numbers, or one number: their mean.
        device: Where the sums are kept.

    Raises:
        TypeError: *fn* returns something that is not a tensor or a number.
        ValueError: *fn* returns another shape than () or (B,).

    >>> error = FunctionMetric(lambda prediction, target: (prediction - target).abs(), torch.device("cpu"))
    >>> error.update(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]))
    >>> error.update(torch.tensor([3.0]), torch.tensor([3.0]))
    >>> error.compute()
    tensor(1., dtype=torch.float64)
    """

    full_state_update = False
    total: Tensor
    rows: Tensor

    def __init__(self, fn: Callable[[Any, Any], Any], device: torch.device) -> None:
        super().__init__()
        self.fn = fn
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.add_state("total", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")
        self.to(device)

    def update(self, prediction: Any, target: Any) -> None:
        value = self.fn(prediction, target)
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        if not isinstance(value, Tensor | int | float):
            raise TypeError(
                f"metric {name!r}: returned {type(value).__name__}; return a tensor of (B,) numbers, or their mean."
            )
        rows = len(target) if isinstance(target, Tensor) else len(prediction)
        value = torch.as_tensor(value, device=self.total.device).detach().to(self.total.dtype)
        if value.dim() and value.shape != (rows,):
            raise ValueError(
                f"metric {name!r}: returned shape {tuple(value.shape)} for a batch of {rows} rows; return ({rows},) "
                f"numbers, or their mean."
            )
        self.total += value.sum() if value.dim() else value * rows
        self.rows += rows

    def compute(self) -> Tensor:
        return self.total / self.rows

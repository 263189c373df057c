r"""torch's ``reduction="sum"``: a loss that is not divided by anything."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thalweg.loss.activation import Activation
from thalweg.loss.loss import Loss, Weight

__all__ = ["Total"]


@dataclass(frozen=True)
class Total(Loss):
    r"""The sum of another loss with weight 1, so that the value is the sum and the gradient is not divided.

    .. math:: S = S_{\text{loss}} \qquad W = 1

    It is exact as long as one batch is one update. Cut into parts, each part would weigh 1 and the result would be
    smaller by their number, so accumulation and several processes are refused (``require_splittable``). An evaluation
    over several batches is the mean of their sums.

    Args:
        loss: The loss to sum.

    Shapes: those of *loss*. ``per_row`` gives each row the weight 1/B, so that a batch weighs 1.

    Raises:
        ValueError: from ``require_splittable``.

    >>> from thalweg.loss.mse import MSE
    >>> Total(MSE())(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]))
    (tensor(5.), 1)
    """

    loss: Loss
    activation: Activation = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", self.loss.activation)

    @property
    def ignore_index(self) -> int | None:
        """What the summed loss ignores."""
        found: int | None = getattr(self.loss, "ignore_index", None)
        return found

    @property
    def splittable(self) -> bool:
        return False

    def require_splittable(self, reason: str) -> None:
        raise ValueError(
            f"{type(self.loss).__name__}: reduction='sum' has no weight to divide by, so {reason} would change its "
            "scale; use reduction='mean' with a rate as many times larger as a batch has terms."
        )

    def __call__(self, output: Any, target: Any, row_weight: Tensor | None = None) -> tuple[Tensor, Weight]:
        return self.loss(output, target, row_weight)[0], 1

    def per_row(self, output: Any, target: Any) -> tuple[Tensor, Weight]:
        sums, _ = self.loss.per_row(output, target)
        return sums, torch.full_like(sums, 1 / max(len(sums), 1)).detach()

    def check(self, output: Any, target: Any, row_weight: Tensor | None = None) -> None:
        self.loss.check(output, target, row_weight)

    def specialise(self, output: Any, target: Any, targets: Tensor | None = None) -> Total:
        return dataclasses.replace(self, loss=self.loss.specialise(output, target, targets))

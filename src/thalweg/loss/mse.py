"""Mean squared error."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from thalweg.loss.activation import Activation
from thalweg.loss.elementwise import Elementwise

__all__ = ["MSE"]


@dataclass(frozen=True)
class MSE(Elementwise):
    r"""Mean squared error, the loss whose minimiser is the conditional mean.

    .. math:: L = \frac{1}{n} \sum_{i=1}^{n} (o_i - y_i)^2

    There is no factor 1/2: the gradient is :math:`2 (o - y) / n`, as in ``torch.nn.MSELoss``.

    Shapes: output and target (B, ...) alike; the weight is the number of elements.

    Raises:
        ValueError: shapes that differ, NaN in the target (from ``check``).

    >>> import torch
    >>> MSE()(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]))
    (tensor(5.), 2)
    """

    activation: Activation = field(default="none", kw_only=True, repr=False)

    def elements(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.mse_loss(output, target, reduction=reduction)

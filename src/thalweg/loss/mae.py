"""Mean absolute error."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from thalweg.loss.activation import Activation
from thalweg.loss.elementwise import Elementwise

__all__ = ["MAE"]


@dataclass(frozen=True)
class MAE(Elementwise):
    r"""Mean absolute error, the loss whose minimiser is the conditional median.

    .. math:: L = \frac{1}{n} \sum_{i=1}^{n} |o_i - y_i|

    The derivative where :math:`o = y` is 0, as in ``torch.nn.L1Loss``.

    Shapes: output and target (B, ...) alike; the weight is the number of elements.

    Raises:
        ValueError: shapes that differ, NaN in the target (from ``check``).

    >>> import torch
    >>> MAE()(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]))
    (tensor(3.), 2)
    """

    activation: Activation = field(default="none", kw_only=True, repr=False)

    def elements(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.l1_loss(output, target, reduction=reduction)

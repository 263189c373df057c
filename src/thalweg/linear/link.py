r"""How a linear predictor becomes a loss: squared, logistic, softmax."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["Link", "Logistic", "Softmax", "Squared"]


class Link(ABC):
    r"""The loss of one row as a function of its linear predictor :math:`z = x W^\top + b`.

    Attributes:
        curvature: the largest second derivative of the loss in z, which bounds the rates that are stable.
    """

    curvature: ClassVar[float]

    @abstractmethod
    def residual_(self, z: Tensor, y: Tensor) -> Tensor:
        """Return the derivative of each row's loss in z, **(b, k)**, written over *z*."""

    @abstractmethod
    def losses(self, z: Tensor, y: Tensor) -> Tensor:
        """Return each row's loss, **(b,)**."""


class Squared(Link):
    """½ ‖z − y‖², with y **(b, k)**.

    >>> Squared().residual_(torch.tensor([[3.0]]), torch.tensor([[1.0]]))
    tensor([[2.]])
    """

    curvature: ClassVar[float] = 1.0

    def residual_(self, z: Tensor, y: Tensor) -> Tensor:
        return z.sub_(y)

    def losses(self, z: Tensor, y: Tensor) -> Tensor:
        return (z - y).square().sum(1) / 2


class Logistic(Link):
    r"""log(1 + e^z) − y z, with one predictor and y **(b, 1)** in {0, 1}; the mean is σ(z).

    >>> Logistic().residual_(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    tensor([[-0.5000]])
    """

    curvature: ClassVar[float] = 0.25

    def residual_(self, z: Tensor, y: Tensor) -> Tensor:
        return z.sigmoid_().sub_(y)

    def losses(self, z: Tensor, y: Tensor) -> Tensor:
        return (torch.nn.functional.softplus(z, threshold=40.0) - y * z).sum(1)


class Softmax(Link):
    r"""log Σ e^{z_k} − z_y, with k predictors and y **(b, 1)** the class; second derivatives are at most ½ (Böhning,
    *Multinomial logistic regression algorithm*, Ann. Inst. Stat. Math. 44 (1992)).

    >>> Softmax().residual_(torch.zeros(1, 2), torch.tensor([[1.0]]))
    tensor([[ 0.5000, -0.5000]])
    """

    curvature: ClassVar[float] = 0.5

    def residual_(self, z: Tensor, y: Tensor) -> Tensor:
        found = torch.softmax(z, 1)
        return found.scatter_add_(1, y.long(), torch.full_like(y, -1.0, dtype=found.dtype))

    def losses(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.logsumexp(z, 1) - z.gather(1, y.long())[:, 0]

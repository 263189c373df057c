r"""Penalties on the parameters, added to the objective once, after the division by the weight.

Three things go by the name of weight decay. With a rate :math:`\eta`, a coefficient :math:`\lambda` and the gradient
:math:`g` of the loss, one step of gradient descent is

===============================  ======================================================  ==========================
name                             step                                                    where it is set
===============================  ======================================================  ==========================
L2 penalty in the loss           :math:`w - \eta (g + 2 \lambda w)`                      ``penalty=L2(wd)``
L2 in the gradient               :math:`w - \eta (g + \lambda w)`                        SGD's, Adam's weight_decay
decoupled decay                  :math:`(1 - \eta \lambda) w - \eta g`                   AdamW's weight_decay
===============================  ======================================================  ==========================

The first is the gradient of :math:`\lambda \sum w^2` (there is no 1/2 in it) and so twice the second. For plain
gradient descent the second and the third are the same; they part as soon as the gradient is rescaled, as Adam does:
its first step has the length of the rate whatever the gradient is, so that decay inside the gradient only turns its
sign, while decoupled decay still shrinks w by :math:`\eta \lambda w`.

>>> import torch
>>> w, g, lr, wd = torch.tensor(2.0), torch.tensor(0.5), 0.1, 0.1
>>> gradients = {"in the loss": g + 2 * wd * w, "in the gradient": g + wd * w}
>>> {name: round(float(gradient), 4) for name, gradient in gradients.items()}
{'in the loss': 0.9, 'in the gradient': 0.7}

Gradient descent, and Adam's first step :math:`-\eta \, g / |g|`:

>>> def descent(gradient, decoupled=0.0):
...     return round(float(w * (1 - lr * decoupled) - lr * gradient), 4)
>>> descent(gradients["in the loss"]), descent(gradients["in the gradient"]), descent(g, decoupled=wd)
(1.91, 1.93, 1.93)
>>> def adam(gradient, decoupled=0.0):
...     return round(float(w * (1 - lr * decoupled) - lr * gradient / gradient.abs()), 4)
>>> adam(gradients["in the loss"]), adam(gradients["in the gradient"]), adam(g, decoupled=wd)
(1.9, 1.9, 1.88)

Source: I. Loshchilov, F. Hutter, Decoupled weight decay regularization, ICLR 2019, sections 1 and 2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import check_number
from thalweg.loss.loss import full_precision

__all__ = ["L1", "L2", "Penalty"]


class Penalty(ABC):
    """A term of the objective that depends on the parameters alone; subclasses are frozen dataclasses."""

    @abstractmethod
    def one(self, param: Tensor) -> Tensor:
        """Return the term of one parameter, a differentiable 0-dim tensor."""

    @abstractmethod
    def add_gradient_(self, params: list[Tensor], grads: list[Tensor]) -> None:
        """Add the gradient of the penalty to *grads*, in place and without building a graph.

        Args:
            params: The parameters.
            grads: Their gradients, same order and shapes.
        """

    def __call__(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return the penalty, a differentiable 0-dim tensor: the sum over all of *params*, biases included."""
        return sum((self.one(param) for param in params.values()), torch.zeros(()))


@dataclass(frozen=True)
class L2(Penalty):
    r"""The L2 penalty in the loss.

    .. math:: \lambda \sum_k w_k^2 \qquad \text{gradient } 2 \lambda w

    over all parameters, biases included. Twice torch's ``weight_decay``: ``SGD(weight_decay=d)`` is ``L2(d / 2)``.

    Args:
        wd: :math:`\lambda`, finite and >= 0, in units of loss per squared parameter.

    Raises:
        ValueError: wd is negative or infinite.

    >>> params = {"weight": torch.tensor([1.0, 2.0]), "bias": torch.tensor([3.0])}
    >>> L2(0.1)(params)
    tensor(1.4000)
    >>> grads = [torch.zeros(2), torch.zeros(1)]
    >>> L2(0.1).add_gradient_(list(params.values()), grads)
    >>> grads
    [tensor([0.2000, 0.4000]), tensor([0.6000])]
    """

    wd: float

    def __post_init__(self) -> None:
        check_number("L2", "wd", self.wd, low=0.0, high=math.inf, high_open=True, advice="choose a finite number")

    def one(self, param: Tensor) -> Tensor:
        return self.wd * full_precision(param).square().sum()

    @torch.no_grad()
    def add_gradient_(self, params: list[Tensor], grads: list[Tensor]) -> None:
        if params:
            torch._foreach_add_(grads, params, alpha=2.0 * self.wd)


@dataclass(frozen=True)
class L1(Penalty):
    r"""The L1 penalty in the loss, which draws small parameters to zero.

    .. math:: \lambda \sum_k |w_k| \qquad \text{gradient } \lambda \operatorname{sign}(w), \quad 0 \text{ at } w = 0

    Args:
        wd: :math:`\lambda`, finite and >= 0, in units of loss per parameter.

    Raises:
        ValueError: wd is negative or infinite.

    >>> L1(0.1)({"weight": torch.tensor([1.0, -2.0])})
    tensor(0.3000)
    """

    wd: float

    def __post_init__(self) -> None:
        check_number("L1", "wd", self.wd, low=0.0, high=math.inf, high_open=True, advice="choose a finite number")

    def one(self, param: Tensor) -> Tensor:
        return self.wd * full_precision(param).abs().sum()

    @torch.no_grad()
    def add_gradient_(self, params: list[Tensor], grads: list[Tensor]) -> None:
        if params:
            torch._foreach_add_(grads, torch._foreach_sign(params), alpha=self.wd)

r"""Gradient descent for least squares out of one pass's sums: no row is read again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thalweg.optim import Rule

from .blocks import Array, as_tensor
from .coordinates import Coordinates, Curvature
from .descent import Descent
from .link import Squared
from .moments import Moments
from .small import eigh, eigvalsh

__all__ = ["Reduced", "reduce_moments"]


@dataclass(frozen=True)
class Reduced:
    r"""A least-squares problem of p rows with the gradient of the whole: :math:`R = Λ^{1/2} Q^\top`, for which
    :math:`R^\top R` is the (centred) Gram matrix :math:`S = Q Λ Q^\top`.

    Attributes:
        R, q: features **(m, p)** and targets **(m, t)**, m <= p.
        products, cross, squares: S **(p, p)**, :math:`X^\top y` **(p, t)**, :math:`\sum y^2` **(t,)**.
        means: of all columns, X's then y's; zeros without an intercept.
        tss: :math:`\sum (y - \bar y)^2`, **(t,)**.
        weight: Σw.
    """

    R: Array
    q: Array
    products: Array
    cross: Array
    squares: Array
    means: Array
    tss: Array
    weight: float

    def descent(
        self, *, ridge: float, standardize: bool, rule: Callable[[Curvature], Rule], schedule: Any, steps: int
    ) -> Descent:
        """Return a descent on the reduced problem, without an intercept: the columns are centred already.

        Args:
            ridge: α / Σw.
            standardize: whether the rule works on columns of variance 1.
            rule: chooses the rule by the curvature.
            schedule: of the hyperparameters, or None.
            steps: updates at most.
        """
        p = len(self.products)
        size = np.sqrt(np.diagonal(self.products) / self.weight) if standardize else np.ones(p)
        at = Coordinates(np.zeros(p), np.where(size > 0, size, 1.0))
        scaled = self.products / np.outer(at.scale, at.scale) / self.weight + np.diag(ridge / at.scale**2)
        values = eigvalsh(scaled)
        condition = math.sqrt(values[-1] / values[0]) if values[0] > 0 else math.inf
        chosen = rule(Curvature(float(values[-1]) or 1.0, 0.0, condition))
        return Descent(
            Squared(),
            self.q.shape[1],
            at,
            ridge=ridge,
            intercept=False,
            rule=chosen,
            schedule=schedule,
            total_steps=steps,
            steps_per_epoch=1,
            mean_weight=self.weight / len(self.R),
        )

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return R and q as tensors."""
        return as_tensor(self.R), as_tensor(self.q)

    def rss(self, coef: Array) -> Array:
        """Return the residual sum of squares of coefficients **(t, p)** over all rows, **(t,)**."""
        bent = coef.T * (self.products @ coef.T)
        found: Array = (self.squares - 2 * (coef.T * self.cross).sum(0) + bent.sum(0)).clip(min=0.0)
        return found


def reduce_moments(moments: Moments) -> Reduced:
    """Return the reduced problem of the sums; directions that their rounding hides are left out."""
    p, weight, gram = moments.features, moments.weight, moments.gram
    first = gram[:-1, -1] / weight
    centred = gram[:-1, :-1] - weight * np.outer(first, first)
    used = centred if moments.centred else gram[:-1, :-1]
    S, c = used[:p, :p], used[:p, p:]
    values, Q = eigh(S)
    kept = values > moments.rounding * p * values.max(initial=0.0)
    root = np.sqrt(values[kept])
    R, q = root[:, None] * Q[:, kept].T, (Q[:, kept].T @ c) / root[:, None]
    if not len(R):
        R, q = np.zeros((1, p)), np.zeros((1, c.shape[1]))
    means = moments.shift + first if moments.centred else np.zeros(len(first))
    return Reduced(R, q, S, c, np.diagonal(used)[p:], means, np.diagonal(centred)[p:], weight)

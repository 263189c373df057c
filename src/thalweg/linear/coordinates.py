r"""Coordinates in which the columns have mean 0 and variance 1, and the rates that are stable there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .blocks import Array
from .small import eigvalsh

__all__ = ["Coordinates", "Curvature", "curvature_of", "standardising"]


@dataclass(frozen=True)
class Coordinates:
    r"""The change of variables :math:`u = (x - m) / s`, :math:`v = s w`, :math:`b' = b + m \cdot w`.

    It is exact for any m and s: the same objective in other coordinates, the penalty still
    :math:`α \lVert w \rVert^2`. What changes is the path: a rule with one rate for all columns sees
    columns of one size.

    Attributes:
        shift: m, **(p,)**; zeros where there is no intercept to take it up.
        scale: s, **(p,)**, positive.
    """

    shift: Array
    scale: Array


def standardising(X: Array, w: Array | None, centred: bool, scaled: bool) -> Coordinates:
    """Return the coordinates in which the rows *X* have mean 0 and variance 1, as far as asked for.

    A column that does not vary keeps its scale.

    >>> found = standardising(np.array([[0.0, 5.0], [2.0, 5.0]]), None, True, True)
    >>> found.shift.tolist(), found.scale.tolist()
    ([1.0, 5.0], [1.0, 1.0])
    """
    p = X.shape[1]
    wide = X.astype(np.float64)
    mean = np.average(wide, axis=0, weights=w) if centred else np.zeros(p)
    if not scaled:
        return Coordinates(mean, np.ones(p))
    size = np.sqrt(np.average((wide - mean) ** 2, axis=0, weights=w))
    floor = 8 * np.finfo(np.float64).eps * np.abs(wide).max(0, initial=0.0)
    return Coordinates(mean, np.where(size > floor, size, 1.0))


@dataclass(frozen=True)
class Curvature:
    r"""How strongly the mean loss bends in the rule's coordinates.

    Attributes:
        largest: largest eigenvalue of :math:`\frac{1}{\sum w} \sum_i w_i u_i u_i^\top` with the intercept's column and
            the penalty, times the link's curvature.
        row: the largest :math:`\lVert u_i \rVert^2` of a row, times the same.
        condition: of the scaled columns, or NaN where they are too many to work it out.
    """

    largest: float
    row: float
    condition: float

    def rate(self, batch: int | None) -> float:
        r"""Return the rate of plain (stochastic) gradient descent.

        Over all rows :math:`1 / λ_1`, at which every step descends. Over *batch* rows
        :math:`m / (β + (m - 1) λ_1)` with β the largest squared norm of a row (Ma, Bassily, Belkin, *The Power of
        Interpolation*, ICML 2018, theorem 4), which is stable whatever the batch.
        """
        if batch is None:
            return 1.0 / self.largest
        return batch / (max(self.row, self.largest) + (batch - 1) * self.largest)


def curvature_of(X: Array, w: Array | None, at: Coordinates, ridge: float, intercept: bool, factor: float) -> Curvature:
    """Return the curvature that the rows *X* show.

    Args:
        X: features **(b, p)**, a sample or all.
        w: row weights **(b,)**, or None.
        at: the rule's coordinates.
        ridge: α / Σw, of the data's coordinates.
        intercept: whether there is one.
        factor: the link's curvature.
    """
    u = (X.astype(np.float64) - at.shift) / at.scale
    if w is not None:
        u, w = u[w > 0], w[w > 0]
    row = float((u**2).sum(1).max()) + intercept
    extra = float((ridge / at.scale**2).max(initial=0.0))
    weights: Array = np.ones(len(u)) if w is None else w
    u *= np.sqrt(weights / weights.sum())[:, None]
    condition = math.nan
    if min(u.shape) <= 1024:
        values = eigvalsh(u @ u.T if u.shape[0] < u.shape[1] else u.T @ u)
        largest = float(values[-1])
        if u.shape[0] >= u.shape[1] and len(values):
            condition = math.sqrt(largest / values[0]) if values[0] > 1e-15 * largest else math.inf
    else:
        largest = _power(u)  # too many columns and rows for all eigenvalues
    # With centred columns the intercept's own eigenvalue is 1; else the two together stay below their sum.
    top = max(largest, 1.0) if intercept and bool(np.any(at.shift)) else largest + intercept
    return Curvature(factor * top + extra, factor * row + extra, condition)


def _power(u: Array) -> float:
    """Return the largest eigenvalue of uᵀu from 50 power iterations, and 5 % for what they have not found."""
    vector: Array = np.random.default_rng(0).standard_normal((u.shape[1],))
    length = float(np.linalg.norm(vector))
    for _ in range(50):
        vector = u.T @ (u @ (vector / length))
        length = float(np.linalg.norm(vector))
    return 1.05 * length

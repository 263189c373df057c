r"""What accuracy a streamed closed form can be expected to have, said before anybody relies on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .blocks import Array

__all__ = ["Accuracy", "AccuracyWarning", "bound_of_gram", "bound_of_triangle"]


class AccuracyWarning(UserWarning):
    """Rounding may have cost the coefficients more digits than were asked for."""


@dataclass(frozen=True)
class Accuracy:
    r"""A bound on the error of the coefficients that rounding has caused.

    Attributes:
        relative_error: bound on :math:`\lVert D (\hat w - w) \rVert / \lVert D \hat w \rVert`, where D holds the
            columns' norms (so that units do not matter); infinite where not one digit is certain.
        absolute_error: bound on :math:`|\hat w_j - w_j|` for each coefficient, shape **(t, p)**.
        method: ``"gram"`` or ``"qr"``.
        condition: condition number of the columns scaled to norm 1, which decides.

    >>> print(Accuracy(3e-9, np.zeros((1, 1)), "gram", 120.0))
    one pass over the Gram matrix, scaled condition number 1.2e+02: coefficients to a relative error of 3e-09 or better
    """

    relative_error: float
    absolute_error: Array
    method: str
    condition: float

    def __str__(self) -> str:
        way = "one pass over the Gram matrix" if self.method == "gram" else "QR of the rows"
        start = f"{way}, scaled condition number {self.condition:.2g}: "
        if not math.isfinite(self.relative_error):
            return start + "no digit of the coefficients is certain"
        return start + f"coefficients to a relative error of {self.relative_error:.1g} or better"


def bound_of_gram(coef: Array, norms: Array, target_norms: Array, eigenvalues: Array, rounding: float) -> Accuracy:
    r"""Return the accuracy of :math:`\hat w` from rounded normal equations.

    With columns scaled to norm 1 the rounded equations are :math:`(A + E)\hat w = c + e` with
    :math:`|E_{ij}| \le ε` and :math:`|e_i| \le ε \lVert y \rVert`, so that

    .. math:: \lVert \hat w - w \rVert \le \frac{ε\,(\sqrt p\,\lVert y \rVert + p\,\lVert \hat w \rVert)}
        {\lambda_{\min} - pε}

    Args:
        coef: :math:`\hat w`, **(t, p)**.
        norms: the columns' norms D, **(p,)**, the ridge's share included; 0 for a column that does not vary.
        target_norms: norms of the targets, **(t,)**.
        eigenvalues: of A, ascending, those of columns that do not vary left out.
        rounding: ε, what an element of A may be off.
    """
    p = max(1, len(eigenvalues))
    largest = float(eigenvalues[-1]) if len(eigenvalues) else 1.0
    smallest = float(eigenvalues[0]) if len(eigenvalues) else 1.0
    scaled = np.linalg.norm(coef * norms, axis=1)
    left = smallest - p * rounding
    condition = math.sqrt(largest / smallest) if smallest > 0 else math.inf
    if left <= 0:
        return Accuracy(math.inf, np.full(coef.shape, math.inf), "gram", condition)
    errors = rounding * (math.sqrt(p) * target_norms + p * scaled) / left
    return _accuracy(errors, scaled, norms, coef, "gram", condition)


def bound_of_triangle(coef: Array, norms: Array, residual_norms: Array, condition: float, rows: int) -> Accuracy:
    r"""Return the accuracy of :math:`\hat w` from a QR factorisation in float64 (Higham, *Accuracy and Stability of
    Numerical Algorithms*, 2nd ed., theorem 20.1, with the columns scaled to norm 1).

    .. math:: \lVert \hat w - w \rVert \le u' κ (2 \lVert \hat w \rVert + κ \lVert r \rVert),\qquad
        u' = 5 (p + \sqrt n)\,u

    Args:
        coef: :math:`\hat w`, **(t, p)**.
        norms: the columns' norms, **(p,)**.
        residual_norms: norms of the residuals, **(t,)**.
        condition: of the scaled columns (of those that the rank keeps).
        rows: n.
    """
    unit = 5 * (coef.shape[1] + math.sqrt(max(1, rows))) * float(np.finfo(np.float64).eps) / 2
    scaled = np.linalg.norm(coef * norms, axis=1)
    errors = unit * condition * (2 * scaled + condition * residual_norms)
    return _accuracy(errors, scaled, norms, coef, "qr", condition)


def _accuracy(errors: Array, scaled: Array, norms: Array, coef: Array, method: str, condition: float) -> Accuracy:
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(errors > 0, errors / scaled, 0.0)
        absolute = np.where(norms > 0, errors[:, None] / norms, 0.0)
    return Accuracy(float(relative.max(initial=0.0)), absolute, method, condition)

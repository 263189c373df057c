r"""The least-squares solution out of a triangular factor or a Gram matrix; nothing is inverted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .accuracy import Accuracy, bound_of_gram, bound_of_triangle
from .blocks import Array
from .moments import Moments
from .small import eigh, eigvalsh, svd
from .triangle import Triangle

__all__ = ["Solution", "from_moments", "from_triangle"]


@dataclass(frozen=True)
class Solution:
    r"""What minimises :math:`\sum_i w_i (y_i - x_i^\top w - b)^2 + α \lVert w \rVert^2`, and what is known about it.

    Attributes:
        coef: w, **(t, p)**, of the smallest norm where several minimise.
        intercept: b, **(t,)**.
        rank: of the columns, centred where there is an intercept.
        singular_values: of these columns, descending.
        condition_number: :math:`\sqrt{(σ_1^2 + α) / (σ_p^2 + α)}`; infinite where the rank is not full.
        rss: :math:`\sum_i w_i r_i^2`, **(t,)**.
        tss: :math:`\sum_i w_i (y_i - \bar y)^2`, **(t,)**.
        rows: rows of weight > 0.
        dtype: of the features.
        variance: diagonal of :math:`(X^\top W X)^{-1}`, **(p,)**, or None where it does not exist.
        intercept_variance: the same of the intercept, or None.
        accuracy: what rounding may have done.
    """

    coef: Array
    intercept: Array
    rank: int
    singular_values: Array
    condition_number: float
    rss: Array
    tss: Array
    rows: int
    dtype: np.dtype[Any]
    variance: Array | None
    intercept_variance: float | None
    accuracy: Accuracy


def from_triangle(triangle: Triangle, alpha: float = 0.0) -> Solution:
    """Return the solution by the singular values of R: which columns say nothing of their own is seen in them.

    Singular values up to eps · max(n, p) of the largest count as zero, as in ``numpy.linalg.lstsq``.

    Args:
        triangle: the factor of all rows.
        alpha: ridge, >= 0.
    """
    p, centred = triangle.features, triangle.centred
    factor = triangle.factor()
    Rx, Ry = factor[:, :p], factor[:, p:]
    U, s, Vt = svd(Rx)
    cutoff = np.finfo(np.float64).eps * max(triangle.rows, p) * s.max(initial=0.0)
    rank = int((s > cutoff).sum())
    U, kept, V = U[:, :rank], s[:rank], Vt[:rank].T
    coef = (V @ ((kept / (kept**2 + alpha))[:, None] * (U.T @ Ry))).T
    means = triangle.means()
    rss = ((Ry - Rx @ coef.T) ** 2).sum(0)
    total = (Ry**2).sum(0)
    if not centred:
        total = total - triangle.target_sums**2 / triangle.weight
    norms = np.sqrt((Rx**2).sum(0) + alpha)
    norms[norms <= cutoff] = 0.0
    scaled = svd((V * np.sqrt(kept**2 + alpha)).T / np.where(norms > 0, norms, 1.0))[1]
    condition = float(scaled[0] / scaled[min(rank, len(scaled)) - 1]) if rank else 1.0
    full = rank == p
    variance = (V**2 / kept**2).sum(1) if full and alpha == 0 and p else None
    own = _intercept_variance(triangle.weight, means[:p], V / kept) if full and alpha == 0 and centred else None
    ends = math.sqrt((float(s[0]) ** 2 + alpha) / (float(s[-1]) ** 2 + alpha)) if full else math.inf
    if alpha > 0 and not full:
        ends = math.sqrt((float(s.max(initial=0.0)) ** 2 + alpha) / alpha)
    return Solution(
        coef=coef,
        intercept=means[p:] - coef @ means[:p],
        rank=rank,
        singular_values=s,
        condition_number=ends,
        rss=rss,
        tss=total,
        rows=triangle.rows,
        dtype=triangle.dtype,
        variance=variance,
        intercept_variance=own,
        accuracy=bound_of_triangle(coef, norms, np.sqrt(rss), condition, triangle.rows),
    )


def from_moments(moments: Moments, alpha: float = 0.0) -> Solution:
    """Return the solution by the eigenvectors of the Gram matrix with columns scaled to norm 1.

    A Gram matrix holds squared singular values: those below the square root of its rounding are lost in it, and
    ``accuracy`` says so.

    Args:
        moments: sums over all rows.
        alpha: ridge, >= 0.
    """
    p = moments.features
    gram, weight = moments.gram, moments.weight
    products, first = gram[:-1, :-1], gram[:-1, -1] / weight
    centred = products - weight * np.outer(first, first)
    means = moments.shift + first if moments.centred else np.zeros(len(first))
    used = centred if moments.centred else products
    S, c, yy = used[:p, :p], used[:p, p:], np.diagonal(used)[p:]
    raw, own = np.diagonal(products)[:p], np.diagonal(S)
    varies = own > 4 * moments.rounding * raw
    norms = np.where(varies, np.sqrt(np.where(varies, own, 0.0) + alpha), 0.0)
    # Cancellation where the shift was far from the mean: the sums were larger than what is left of them.
    grown = float((raw[varies] / own[varies]).max(initial=1.0))
    rounding = moments.rounding * grown
    d = norms[varies]
    A = S[np.ix_(varies, varies)] / np.outer(d, d) + np.diag(alpha / d**2)
    values, Q = eigh(A)
    resolved = bool((values > len(d) * rounding).all())
    coef = np.zeros((c.shape[1], p))
    if resolved:
        back = Q / np.sqrt(values) / d[:, None]
        coef[:, varies] = (back @ (back.T @ c[varies])).T
    else:  # the smallest norm among what minimises, as far as these sums tell
        wide, V = eigh(S + alpha * np.eye(p))
        kept = wide > p * rounding * wide.max(initial=0.0)
        coef = (V[:, kept] @ ((V[:, kept].T @ c) / wide[kept][:, None])).T
        back = V[:, kept] / np.sqrt(wide[kept])
    squares = eigvalsh(S)[::-1].clip(min=0.0)
    full = resolved and bool(varies.all())
    rank = p if full else int((squares > p * rounding * squares.max(initial=0.0)).sum())
    largest = math.sqrt(float(squares.max(initial=0.0)) + alpha)
    ends = largest * float(svd(back)[1][0]) if full and p else math.inf
    defined = full and alpha == 0
    rss = (yy - 2 * (coef.T * c).sum(0) + (coef.T * (S @ coef.T)).sum(0)).clip(min=0.0)
    return Solution(
        coef=coef,
        intercept=means[p:] - coef @ means[:p],
        rank=rank,
        singular_values=np.sqrt(squares),
        condition_number=ends,
        rss=rss,
        tss=np.diagonal(centred)[p:].clip(min=0.0),
        rows=moments.rows,
        dtype=moments.dtype,
        variance=(back**2).sum(1) if defined else None,
        intercept_variance=_intercept_variance(weight, means[:p], back) if defined and moments.centred else None,
        accuracy=bound_of_gram(coef, norms, np.sqrt(yy.clip(min=0.0)), values, rounding),
    )


def _intercept_variance(weight: float, means: Array, back: Array) -> float:
    r"""Return :math:`1 / \sum w + \bar x^\top (X^\top W X)^{-1} \bar x`, whose inverse is *back* · *back*ᵀ."""
    return float(1 / weight + ((means @ back) ** 2).sum())

"""Draws of a Gaussian's mean and precision, given its draws."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["normal_wishart", "wishart"]

Array = np.ndarray[Any, np.dtype[np.float64]]


def wishart(rng: np.random.Generator, freedom: float, inverse_scale: Array) -> Array:
    r"""Return a draw of :math:`W(\nu, V)`, whose mean is :math:`\nu V`, given :math:`V^{-1}`.

    With :math:`V = L L^\top`, the draw is :math:`L A A^\top L^\top`, A lower triangular with
    :math:`A_{ii}^2 \sim \chi^2_{\nu - i}` and standard normal entries below.

    Args:
        rng: the generator.
        freedom: ν > d − 1.
        inverse_scale: :math:`V^{-1}`, **(d, d)**, positive definite.

    Source: Bartlett (1933); Smith and Hocking, *Applied Statistics* 21 (1972), algorithm AS 53.

    >>> draws = [wishart(np.random.default_rng(i), 50.0, 50.0 * np.eye(2))[0, 0] for i in range(400)]
    >>> bool(abs(np.mean(draws) - 1.0) < 0.05)
    True
    """
    d = len(inverse_scale)
    scale = np.linalg.inv(inverse_scale)
    lower = np.linalg.cholesky((scale + scale.T) / 2)
    triangle = np.tril(rng.standard_normal((d, d)), -1)
    np.fill_diagonal(triangle, np.sqrt(rng.chisquare(freedom - np.arange(d))))
    root = lower @ triangle
    draw: Array = root @ root.T
    return draw


def normal_wishart(
    rng: np.random.Generator, rows: Array, *, extra: Array | None = None, extra_freedom: float = 0.0
) -> tuple[Array, Array]:
    r"""Return a draw of (mean, precision) of a Gaussian whose draws are *rows*.

    The prior is :math:`\Lambda \sim W(d, I)`, :math:`m \mid \Lambda \sim N(0, (\beta_0 \Lambda)^{-1})` with
    :math:`\beta_0 = 2`.

    Args:
        rng: the generator.
        rows: **(n, d)**.
        extra: a sum of outer products **(d, d)** of further vectors that share the precision and have mean zero.
        extra_freedom: how many they are.

    Source: Salakhutdinov and Mnih, *Bayesian Probabilistic Matrix Factorization using MCMC*, ICML 2008, equation 14.
    """
    n, d = rows.shape
    strength = 2.0
    mean = rows.mean(0)
    centred = rows - mean
    inverse = np.eye(d) + centred.T @ centred + (strength * n / (strength + n)) * np.outer(mean, mean)
    if extra is not None:
        inverse += extra
    precision = wishart(rng, d + n + extra_freedom, inverse)
    root = np.linalg.cholesky((strength + n) * precision)
    noise = np.linalg.solve(root.T, rng.standard_normal(d))
    return n * mean / (strength + n) + noise, precision

"""Robust local regression: the sweep's curve and its slope against the logarithm of the rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Smoothed", "local_lines", "noise_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Smoothed:
    """A curve, its slope, and the standard error of the curve, shape **(n,)** each.

    Attributes:
        values: the smoothed losses.
        slopes: derivative of the loss against the natural logarithm of the rate.
        error: of ``values``, in units of the noise of one loss.
        filter: the linear map from losses to ``values``, **(n, n)**, robustness weights included.
        slope_filter: likewise for ``slopes``.
    """

    values: Array
    slopes: Array
    error: Array
    filter: Array
    slope_filter: Array


def noise_of(losses: Array) -> float:
    r"""Return the standard deviation of the noise from one loss to the next, robustly.

    .. math:: \sigma = 1.4826 \, \operatorname{median}_i \frac{|l_{i-1} - 2 l_i + l_{i+1}|}{\sqrt 6}

    Second differences do not see a straight line, and the median does not see the divergence at the end.

    >>> rng = np.random.default_rng(0)
    >>> 0.09 < noise_of(np.linspace(3, 1, 2000) + 0.1 * rng.normal(size=2000)) < 0.11
    True
    """
    if losses.size < 3:
        return 0.0
    second = losses[:-2] - 2 * losses[1:-1] + losses[2:]
    return float(1.4826 * np.median(np.abs(second)) / np.sqrt(6))


def local_lines(x: Array, losses: Array, width: float, robust: int = 2) -> Smoothed:
    r"""Fit a line around each point by weighted least squares (lowess).

    .. math:: w_j = (1 - |x_j - x_i|^3 / h^3)^3_+ \; \bigl(1 - r_j^2 / (6 s)^2\bigr)^2_+

    with residuals :math:`r_j` of the round before and their median absolute value *s*: a single odd batch loses its
    weight. Nothing lags behind, unlike an exponential average.

    Args:
        x: logarithms of the rates, rising, shape **(n,)**.
        losses: shape **(n,)**.
        width: *h*, in units of *x*.
        robust: rounds of downweighting.

    Source: Cleveland, *Robust Locally Weighted Regression and Smoothing Scatterplots*, JASA 1979.

    >>> x = np.linspace(0, 1, 11); y = 2 * x; y[5] = 100.0
    >>> fit = local_lines(x, y, width=0.4)
    >>> bool(np.allclose(fit.values, 2 * x)), bool(np.allclose(fit.slopes, 2.0))
    (True, True)
    """
    n = x.size
    distance = np.abs(x[:, None] - x[None, :])
    # At the ends the window holds as many points as elsewhere.
    least = min(n - 1, 4)
    reach = np.maximum(width, 1.0001 * np.sort(distance, axis=1)[:, least])
    kernel = np.clip(1 - (distance / reach[:, None]) ** 3, 0, None) ** 3
    trust = np.ones(n)
    for turn in range(robust + 1):
        filter_, slope_filter = _lines(x, kernel * trust)
        values = filter_ @ losses
        if turn < robust:
            residual = np.abs(losses - values)
            # Only what stands out from its neighbourhood; a noiseless curve keeps all its points.
            scale = 6 * np.median(residual) + 1e-12 * (np.abs(losses).max() + 1e-300)
            trust = np.clip(1 - (residual / scale) ** 2, 1e-6, None) ** 2
    error = np.sqrt((filter_**2).sum(axis=1))
    return Smoothed(values, slope_filter @ losses, error, filter_, slope_filter)


def _lines(x: Array, weights: Array) -> tuple[Array, Array]:
    """Return the maps from losses to fitted values and slopes at each point, for weights **(n, n)**."""
    offset = x[None, :] - x[:, None]
    s0 = weights.sum(axis=1)
    s1 = (weights * offset).sum(axis=1)
    s2 = (weights * offset**2).sum(axis=1)
    determinant = s0 * s2 - s1**2
    values = weights * (s2[:, None] - s1[:, None] * offset) / determinant[:, None]
    slopes = weights * (s0[:, None] * offset - s1[:, None]) / determinant[:, None]
    return values, slopes

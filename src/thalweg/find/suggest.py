"""Rates that a sweep's curve suggests, and how far noise moves them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .smooth import local_lines, noise_of

__all__ = ["METHODS", "Suggestions", "edge", "minimum", "slide", "steepest", "suggest", "valley"]

Array = NDArray[np.float64]

_WIDTH = 1.0 * np.log(10)  # half-width of the smoothing window
_DRAWS = 200
_WIDEST = 100.0  # a band wider than this factor says nothing


@dataclass(frozen=True)
class Suggestions:
    """What a sweep suggests.

    Attributes:
        rates: method → rate.
        band: (lowest, highest) rate that noise cannot tell from the suggestion, at 95 %; None without a suggestion.
        suggestion: the rate, or None where none is reliable.
        method: which method it comes from, or an empty string.
        reason: why there is none, or an empty string.
        smoothed: the smoothed losses, shape **(n,)**.
        noise: standard deviation of the loss from batch to batch.
    """

    rates: dict[str, float]
    band: tuple[float, float] | None
    suggestion: float | None
    method: str
    reason: str
    smoothed: Array = field(repr=False)
    noise: float


def steepest(x: Array, smooth: Array, slopes: Array, noise: float) -> float:
    """Return where the loss falls fastest against the logarithm of the rate, before its minimum."""
    end = int(np.argmin(smooth)) + 1
    return float(x[np.argmin(slopes[:end])])


def minimum(x: Array, smooth: Array, slopes: Array, noise: float) -> float:
    """Return a tenth of the rate with the least loss."""
    return float(x[np.argmin(smooth)] - np.log(10))


def valley(x: Array, smooth: Array, slopes: Array, noise: float) -> float:
    """Return the middle, in logarithms, of the fall: from where it has left its first level to the minimum."""
    end = int(np.argmin(smooth))
    level = _level(smooth)
    below = smooth[: end + 1] < level - max(2 * noise, 0.03 * (level - smooth[end]))
    standing = np.flatnonzero(~below)
    begin = int(standing[-1]) if standing.size else 0
    return float((x[begin] + x[end]) / 2)


def slide(x: Array, smooth: Array, slopes: Array, noise: float) -> float:
    """Return the highest rate before the minimum where the loss still falls half as fast as at its steepest."""
    end = int(np.argmin(smooth)) + 1
    fastest = slopes[:end].min()
    steep = slopes[:end] <= (0.5 * fastest if fastest < 0 else fastest)
    return float(x[np.flatnonzero(steep)[-1]])


def edge(lr: Array, loss: Array) -> float:
    """Return the highest rate of a sweep at which the loss is not above its first level by more than its noise.

    Medians of three losses in a row are compared with the median of the first tenth, and twice the noise is let pass.
    Sweeps too short or too noisy to show where the loss falls still show where it bursts.

    Args:
        lr: the rates tried, rising, shape **(n,)**.
        loss: the loss at each, shape **(n,)**.

    >>> rates = np.geomspace(1e-4, 1, 9)
    >>> float(edge(rates, np.array([2.3, 2.3, 2.3, 2.2, 1.9, 1.0, 9.0, 90.0, 900.0]))).__round__(3)
    0.032
    """
    middles = [float(np.median(loss[max(0, i - 1) : i + 2])) for i in range(loss.size)]
    below = np.flatnonzero(np.array(middles) <= _level(loss) + 2 * noise_of(loss))
    return float(lr[below[-1]])


def _level(smooth: Array) -> float:
    """Return the loss before the rate matters: the median over the first tenth of the sweep."""
    return float(np.median(smooth[: max(3, smooth.size // 10)]))


METHODS = {"steepest": steepest, "valley": valley, "minimum": minimum, "slide": slide}
CHOSEN = "slide"


def suggest(lr: Array, loss: Array, at_end: bool = False) -> Suggestions:
    """Return what a sweep suggests, or why it suggests nothing.

    Losses are smoothed by robust local lines in log rate, each method is read off the curve, and the band comes from
    repeating this with fresh noise of the measured size (a parametric bootstrap with a fixed seed).

    Args:
        lr: the rates tried, rising, shape **(n,)**.
        loss: the loss at each, finite, shape **(n,)**.
        at_end: whether the sweep reached the end of its range without diverging.

    Raises:
        ValueError: unlike lengths, rates that do not rise, or losses that are not finite.

    >>> rates = np.geomspace(1e-6, 10, 100)
    >>> losses = 2.3 - 2 / (1 + (0.01 / rates) ** 2) + (rates / 0.5) ** 2
    >>> found = suggest(rates, losses)
    >>> f"{found.suggestion:.0e}", found.method
    ('6e-02', 'slide')
    >>> suggest(rates, np.full(100, 2.3)).reason
    'the loss did not fall at any rate by more than its noise'
    """
    lr, loss = np.asarray(lr, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    if lr.shape != loss.shape or lr.ndim != 1:
        raise ValueError(f"suggest: lr has shape {lr.shape} and loss {loss.shape}; pass two equally long sequences.")
    if lr.size and not (np.isfinite(loss).all() and (lr > 0).all() and (np.diff(lr) > 0).all()):
        raise ValueError("suggest: rates must be positive and rising, losses finite; cut the sweep where it diverged.")
    noise = noise_of(loss)
    if lr.size < 10:
        reason = f"the sweep ended after {lr.size} updates, too few to judge; begin at a lower rate"
        return Suggestions({}, None, None, "", reason, loss.copy(), noise)
    x = np.log(lr)
    width = min(_WIDTH, 0.25 * (x[-1] - x[0]))
    bounded = _bounded(loss, noise)
    fit = local_lines(x, bounded, width)
    smooth = fit.values
    level, end = _level(smooth), int(np.argmin(smooth))
    rates = {name: float(np.exp(method(x, smooth, fit.slopes, noise))) for name, method in METHODS.items()}
    error = noise * float(fit.error[end] + fit.error[: max(3, lr.size // 10)].mean())
    fallen = level - float(smooth[end])
    reason = ""
    if end < smooth.size // 10 or fallen <= max(3 * error, 1e-9 * abs(level)):
        reason, rates = "the loss did not fall at any rate by more than its noise", {}
    elif rates["steepest"] <= lr[2]:
        reason = f"the loss fell fastest at the lowest rates, from {lr[0]:.3g} on; lower the beginning of the range"
    elif end == smooth.size - 1 and at_end:
        reason = f"the loss was still falling at the highest rate, {lr[-1]:.3g}; raise the end of the range"
    if reason:
        return Suggestions(rates, None, None, "", reason, smooth, noise)
    band = _band(x, smooth, fit.filter, fit.slope_filter, noise)
    if band[1] / band[0] > _WIDEST:
        reason = (
            f"noise (sd {noise:.2g} per batch) moves the suggestion between {band[0]:.1e} and {band[1]:.1e}; sweep "
            "with more steps or larger batches"
        )
        return Suggestions(rates, band, None, "", reason, smooth, noise)
    chosen = rates[CHOSEN]
    return Suggestions(rates, (min(band[0], chosen), max(band[1], chosen)), chosen, CHOSEN, "", smooth, noise)


def _bounded(loss: Array, noise: float) -> Array:
    """Return the losses with the explosion at the end cut off, so that it does not pull on what lies before it."""
    level = float(np.median(loss[: max(3, loss.size // 10)]))
    roof = level + 0.25 * max(level - float(loss.min()), 0.0) + 3 * noise
    return np.minimum(loss, max(roof, float(loss[: max(3, loss.size // 10)].max())))


def _band(x: Array, smooth: Array, filter_: Array, slope_filter: Array, noise: float) -> tuple[float, float]:
    draws = smooth + noise * np.random.default_rng(0).normal(size=(_DRAWS, x.size))
    curves, slopes = draws @ filter_.T, draws @ slope_filter.T
    found = [METHODS[CHOSEN](x, curve, slope, noise) for curve, slope in zip(curves, slopes, strict=True)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(np.exp(low)), float(np.exp(high))

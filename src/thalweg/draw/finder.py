"""The learning-rate finder's figure: the loss of a run under a rising rate, with the rates that are suggested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.draw.arrays import aligned
from thalweg.draw.style import SERIES, dress, figure, legend
from thalweg.errors import check_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["finder"]

_MARKERS = ("o", "s", "^", "D", "v", "P")


def finder(
    lr: ArrayLike,
    loss: ArrayLike,
    smoothed: ArrayLike,
    suggestions: Mapping[str, float],
    skip_start: int = 10,
    skip_end: int = 5,
    band: tuple[float, float] | None = None,
) -> Figure:
    r"""Return the loss against the rate on a logarithmic axis, with the suggested rates marked on the smoothed curve.

    The height of each mark is the smoothed loss interpolated in log rate. The loss axis follows the smoothed curve and
    the middle 98 % of the raw one, so that the divergence at the end does not flatten everything else.

    Args:
        lr: the rates tried, shape ``(n,)``, positive and rising.
        loss: the loss at each rate, shape ``(n,)``.
        smoothed: its smoothed curve, shape ``(n,)``.
        suggestions: name → rate, for example ``{"valley": 1e-3, "steepest": 3e-3}``; may be empty.
        skip_start: how many first points are not drawn, ≥ 0.
        skip_end: how many last points are not drawn, ≥ 0.
        band: lowest and highest rate that noise cannot tell from the suggestion; shaded.

    Returns:
        A :class:`matplotlib.figure.Figure` with one axis.

    Raises:
        TypeError: something cannot be read as numbers.
        ValueError: lengths differ, rates are not positive and rising, the skips leave fewer than two points, or the
            band is not an interval of positive rates.

    >>> rates = np.logspace(-5, 0, 60)
    >>> picture = finder(rates, 2 - rates, 2 - rates, {"valley": 1e-3}, skip_start=0, skip_end=0)
    >>> [text.get_text() for text in picture.axes[0].get_legend().get_texts()]
    ['raw', 'smoothed', 'valley 1.00e-03']
    """
    rates, found = aligned("finder", "lr", lr, {"loss": loss, "smoothed": smoothed})
    if not (np.isfinite(rates).all() and rates.min() > 0 and (np.diff(rates) > 0).all()):
        raise ValueError("finder: lr must be positive and rising for a logarithmic axis; pass the rates in order.")
    check_number("finder", "skip_start", skip_start, low=0)
    check_number("finder", "skip_end", skip_end, low=0)
    if rates.size - skip_start - skip_end < 2:
        raise ValueError(
            f"finder: skip_start={skip_start} and skip_end={skip_end} leave fewer than two of {rates.size} points; "
            "lower one of them or try more rates."
        )
    if band is not None and not 0 < band[0] <= band[1] < np.inf:
        raise ValueError(f"finder: band={band!r} is no interval of positive rates; pass (lowest, highest).")
    shown = slice(skip_start, rates.size - skip_end)
    rates, raw, smooth = rates[shown], found["loss"][shown], found["smoothed"][shown]

    picture = figure(3.5)
    axes = picture.add_subplot()
    axes.set_xscale("log")
    axes.plot(rates, raw, color=SERIES[0], alpha=0.28, linewidth=0.9, label="raw")
    axes.plot(rates, smooth, color=SERIES[0], linewidth=1.8, label="smoothed")
    if band is not None:
        axes.axvspan(*band, color=SERIES[5], alpha=0.16, linewidth=0, label="cannot be told apart")
    finite = np.isfinite(smooth)
    for index, (name, rate) in enumerate(suggestions.items()):
        check_number("finder", f"suggestions[{name!r}]", rate, low=0, low_open=True)
        colour = SERIES[1 + index % (len(SERIES) - 1)]
        axes.axvline(rate, color=colour, linewidth=0.9, alpha=0.55)
        height = np.interp(np.log(rate), np.log(rates[finite]), smooth[finite]) if finite.any() else np.nan
        axes.plot(
            [rate],
            [height],
            linestyle="none",
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=7,
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.8,
            zorder=5,
            label=f"{name} {rate:.2e}",
        )
    inner = raw[np.isfinite(raw)]
    if inner.size and finite.any():
        low = min(np.quantile(inner, 0.01), smooth[finite].min())
        high = max(np.quantile(inner, 0.99), smooth[finite].max())
        margin = 0.06 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)
    axes.margins(x=0.02)
    dress(axes, "loss", "learning rate (log)")
    legend(axes)
    return picture

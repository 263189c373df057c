"""The loss along a line through parameter space, one curve or one per batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.draw.arrays import aligned
from thalweg.draw.loss_curve import mark_gaps, spans_decades
from thalweg.draw.style import INK, MUTED, dress, figure, series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["lines"]


def lines(
    alphas: ArrayLike,
    values: ArrayLike,
    *,
    title: str = "loss",
    xlabel: str = "α",
    log: bool | None = None,
    note: str = "",
) -> Figure:
    """Return losses over the coordinate of a line; values that are not finite are gaps, marked on the axis.

    Args:
        alphas: coordinates, shape ``(n,)``.
        values: losses, shape ``(n,)``, or ``(batches, n)`` for one curve each.
        title: what is drawn.
        xlabel: what α is.
        log: whether the loss axis is logarithmic; None: where all are positive and span more than a factor of 100.
        note: a small line beneath, on how the values were computed.

    Raises:
        TypeError: something cannot be read as numbers.
        ValueError: shapes that do not fit.

    >>> picture = lines([0.0, 1.0], [[1.0, 2.0], [1.5, 2.5]])
    >>> [curve.get_label() for curve in picture.axes[0].lines]
    ['batch 1', 'batch 2']
    """
    array = np.asarray(values, dtype=np.float64)
    curves = [array] if array.ndim == 1 else list(array)
    names = ["loss"] if len(curves) == 1 else [f"batch {place + 1}" for place in range(len(curves))]
    along, found = aligned("lines", "alphas", alphas, dict(zip(names, curves, strict=True)))
    picture = figure(3.4)
    axes = picture.add_subplot()
    if spans_decades(array.reshape(-1)) if log is None else log:
        axes.set_yscale("log")
    for place, (name, curve) in enumerate(found.items()):
        colour, dash = series(place)
        axes.plot(
            along,
            curve,
            color=colour,
            linestyle=dash,
            linewidth=1.6 if len(found) == 1 else 1.2,
            marker="o" if along.size == 1 else None,
            label=name,
        )
    mark_gaps(axes, along, np.sum(list(found.values()), axis=0))
    axes.margins(x=0.01)
    dress(axes, title, xlabel)
    if len(found) > 1 or not np.isfinite(array).all():
        # Inside: the title says what is drawn and may be long.
        axes.legend(loc="best", frameon=False, fontsize=8.5, labelcolor=INK, handlelength=1.6)
    if note:
        picture.supxlabel(note, fontsize=7.5, color=MUTED, x=0.01, ha="left")
    return picture

r"""The loss over the steps: raw and pale, smoothed on top of it, validation as points on a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.draw.arrays import Curve, aligned
from thalweg.draw.style import INK, SERIES, dress, figure, legend
from thalweg.draw.thin import thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["loss_curve", "loss_panel", "mark_gaps", "spans_decades"]

#: Positive values that span more than this factor are drawn on a logarithmic axis unless the caller decides.
_DECADES = 100.0


def spans_decades(values: Curve) -> bool:
    """Return whether the finite *values*, shape ``(n,)``, are positive and span more than a factor of 100.

    >>> spans_decades(np.array([5.0, 0.01])), spans_decades(np.array([5.0, 0.0])), spans_decades(np.array([5.0, 1.0]))
    (True, False, False)
    """
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > _DECADES * finite.min())


def mark_gaps(axes: Axes, step: Curve, values: Curve) -> None:
    """Mark on the x-axis each step whose value is NaN or infinite, with a legend entry that counts them.

    Both arrays have the shape ``(n,)``. A curve that merely stops would look like a short run.
    """
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    places = step[bad]
    places = places[np.unique(np.linspace(0, places.size - 1, min(places.size, 400)).astype(int))]
    axes.plot(
        places,
        np.full(places.size, 0.02),
        linestyle="none",
        marker="x",
        markersize=4.5,
        markeredgewidth=1.2,
        color=INK,
        label=f"not finite ({int(bad.sum()):,})",
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        zorder=5,
    )


def loss_panel(
    axes: Axes,
    step: Curve,
    loss: Curve,
    smoothed: Curve | None,
    valid: tuple[Curve, Curve] | None,
    log: bool | None,
) -> None:
    """Draw the loss on *axes*; see :func:`loss_curve` for the arguments."""
    kept = thin(loss)
    bare = smoothed is None
    axes.plot(
        step[kept],
        loss[kept],
        color=SERIES[0],
        alpha=1.0 if bare else 0.28,
        linewidth=1.4 if bare else 0.8,
        marker="o" if step.size == 1 else None,
        markersize=4,
        label="loss" if bare else "raw",
    )
    if smoothed is not None:
        kept = thin(smoothed)
        axes.plot(
            step[kept],
            smoothed[kept],
            color=SERIES[0],
            linewidth=1.8,
            marker="o" if step.size == 1 else None,
            markersize=4,
            label="smoothed",
        )
    if valid is not None:
        axes.plot(
            *valid,
            color=SERIES[1],
            linewidth=1.3,
            marker="o",
            markersize=4 if valid[0].size <= 60 else 2,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label="validation",
            zorder=4,
        )
    judged = [values for values in (loss, valid[1] if valid else None) if values is not None]
    if spans_decades(np.concatenate(judged)) if log is None else log:
        axes.set_yscale("log")
    axes.margins(x=0.015)
    mark_gaps(axes, step, loss)


def loss_curve(
    step: ArrayLike,
    loss: ArrayLike,
    smoothed: ArrayLike | None = None,
    *,
    valid: Sequence[ArrayLike] | None = None,
    log: bool | None = None,
) -> Figure:
    r"""Return the loss over the steps, raw and pale beneath its smoothed curve.

    Steps whose loss is NaN or infinite are gaps, marked on the x-axis and counted in the legend. More than 5,000 steps
    are thinned with :func:`thalweg.draw.thin`, which keeps every spike.

    Args:
        step: the updates' numbers, shape ``(n,)``.
        loss: each update's loss, shape ``(n,)``.
        smoothed: its smoothed curve, shape ``(n,)``; without it the raw loss is drawn at full strength.
        valid: validation losses as ``(step, loss)``, both of shape ``(m,)``.
        log: whether the loss axis is logarithmic; ``None`` decides so when all losses are positive and span more than
            a factor of 100.

    Returns:
        A :class:`matplotlib.figure.Figure`, belonging to no pyplot window.

    Raises:
        TypeError: something cannot be read as numbers.
        ValueError: an array is empty, not one-dimensional, or of another length than its steps.

    >>> picture = loss_curve([1, 2, 3], [2.0, 1.5, 1.4], [2.0, 1.8, 1.6], valid=([3], [1.3]))
    >>> [line.get_label() for line in picture.axes[0].lines]
    ['raw', 'smoothed', 'validation']
    """
    columns = {"loss": loss} if smoothed is None else {"loss": loss, "smoothed": smoothed}
    along, found = aligned("loss_curve", "step", step, columns)
    points = None
    if valid is not None:
        if len(valid) != 2:
            raise ValueError(
                f"loss_curve: valid has {len(valid)} parts but holds steps and losses; pass valid=(step, loss)."
            )
        valid_step, held = aligned("loss_curve", "valid step", valid[0], {"valid loss": valid[1]})
        points = (valid_step, held["valid loss"])
    picture = figure(3.3)
    axes = picture.add_subplot()
    loss_panel(axes, along, found["loss"], found.get("smoothed"), points, log)
    dress(axes, "loss", "step", steps=True)
    legend(axes)
    return picture

"""A schedule before it runs: its values over the steps, with the first, the highest and the last as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.draw.arrays import Curve, aligned
from thalweg.draw.rates import TITLES, by_quantity, rate_panel
from thalweg.draw.style import INK, SERIES, dress, figure, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["schedule"]


def _name_values(axes: Axes, step: Curve, values: Curve) -> None:
    """Write the first, the highest or lowest inner, and the last value beside their points."""
    turn = int(values.argmax()) if values.max() > max(values[0], values[-1]) else int(values.argmin())
    for place in sorted({0, turn, values.size - 1}):
        left = place < 0.5 * values.size
        # A label stands on the side to which the curve does not go.
        above = values[place] >= (values[turn] if place != turn else max(values[0], values[-1]))
        axes.plot(step[place], values[place], marker="o", markersize=4, color=SERIES[0], zorder=4)
        axes.annotate(
            f"{values[place]:.3g}",
            (step[place], values[place]),
            xytext=(4 if left else -4, 5 if above else -6),
            textcoords="offset points",
            ha="left" if left else "right",
            va="bottom" if above else "top",
            fontsize=8,
            color=INK,
        )
    axes.margins(y=0.24)


def schedule(step: ArrayLike, values: ArrayLike | Mapping[str, ArrayLike]) -> Figure:
    """Return a schedule's curve, or several in stacked panels, as planned.

    A panel with one curve carries its first, turning and last values as numbers, because those are what one checks.

    Args:
        step: the updates' numbers, shape ``(n,)``.
        values: the learning rate, shape ``(n,)``, or a mapping as for :func:`thalweg.draw.rates`.

    Returns:
        A :class:`matplotlib.figure.Figure` with one axis per quantity.

    Raises:
        TypeError: something cannot be read as numbers.
        ValueError: a length differs from that of *step*, or a planned value is not finite.

    >>> picture = schedule([0, 1, 2, 3], [0.0, 1.0, 0.5, 0.0])
    >>> [text.get_text() for text in picture.axes[0].texts]
    ['0', '1', '0']
    """
    named = values if isinstance(values, Mapping) else {"lr": values}
    along, found = aligned("schedule", "step", step, named)
    for name, planned in found.items():
        if not np.isfinite(planned).all():
            first = int((~np.isfinite(planned)).argmax())
            raise ValueError(
                f"schedule: {name} is {planned[first]} at step {along[first]:g}, but a plan is finite everywhere; "
                "check the schedule's arguments."
            )
    panels = by_quantity(found)
    picture = figure(1.2 + 1.5 * len(panels))
    grid = picture.subplots(len(panels), 1, sharex=True, squeeze=False)
    for place, (quantity, curves) in enumerate(panels.items()):
        axes = grid[place, 0]
        rate_panel(axes, along, curves)
        if len(curves) == 1:
            (planned,) = curves.values()
            _name_values(axes, along, planned)
        dress(axes, TITLES.get(quantity, quantity), "step" if place == len(panels) - 1 else "", steps=True)
        legend(axes)
    return picture

"""The learning rate, the momentum and other scheduled hyperparameters over the steps, one panel each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.draw.arrays import Curve, aligned
from thalweg.draw.style import dress, figure, legend, series
from thalweg.draw.thin import thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["TITLES", "by_quantity", "rate_panel", "rates"]

#: What the recorded columns are called on a figure.
TITLES = {"lr": "learning rate", "momentum": "momentum", "weight_decay": "weight decay", "beta1": "momentum (beta1)"}
_NAMED = 6


def by_quantity(columns: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Sort columns named ``quantity`` or ``quantity/group`` by quantity; all-NaN columns and repetitions are left out.

    A group whose curve equals another's is named with it, so that ten groups on one rate are one line.

    >>> by_quantity({"lr/body": np.array([0.1]), "lr/head": np.array([0.1]), "momentum": np.array([np.nan])})
    {'lr': {'body, head': array([0.1])}}
    """
    panels: dict[str, dict[str, Curve]] = {}
    for name, values in columns.items():
        quantity, _, group = name.partition("/")
        if np.isnan(values).all():
            continue
        panel = panels.setdefault(quantity, {})
        for known, other in panel.items():
            if np.array_equal(values, other, equal_nan=True):
                panel[", ".join(part for part in (known, group) if part)] = panel.pop(known)
                break
        else:
            panel[group] = values
    return panels


def rate_panel(axes: Axes, step: Curve, curves: Mapping[str, Curve]) -> None:
    """Draw one quantity's *curves* (group → values of shape ``(n,)``) on *axes*; the first six groups are named."""
    for index, (group, values) in enumerate(curves.items()):
        colour, dash = series(index)
        kept = thin(values)
        label = group if len(group) <= 28 else f"{group[:26]}…"
        if index >= _NAMED:
            label = f"{len(curves) - _NAMED} more" if index == _NAMED else ""
        axes.plot(
            step[kept],
            values[kept],
            color=colour,
            linestyle=dash,
            linewidth=1.6,
            marker="o" if step.size == 1 else None,
            markersize=4,
            label=label if len(curves) > 1 and label else "_unnamed",
        )
    axes.margins(x=0.015)


def rates(step: ArrayLike, values: Mapping[str, ArrayLike]) -> Figure:
    """Return the rate, the momentum and whatever else was scheduled over the steps, stacked above each other.

    Args:
        step: the updates' numbers, shape ``(n,)``.
        values: ``{"lr": …, "momentum": …}``, each of shape ``(n,)``; a name ``lr/head`` is the group ``head`` in the
            panel of ``lr``. Quantities that are NaN throughout (a rule without momentum) get no panel.

    Returns:
        A :class:`matplotlib.figure.Figure` with one axis per quantity.

    Raises:
        TypeError: something cannot be read as numbers.
        ValueError: nothing is left to draw, or a length differs from that of *step*.

    >>> picture = rates([1, 2, 3], {"lr": [0.1, 0.2, 0.1], "momentum": [0.95, 0.85, 0.95]})
    >>> [axes.get_title(loc="left") for axes in picture.axes]
    ['learning rate', 'momentum']
    """
    along, found = aligned("rates", "step", step, values)
    panels = by_quantity(found)
    if not panels:
        raise ValueError(
            "rates: no value is recorded, so that there is nothing to draw; pass at least {'lr': values} with a number."
        )
    picture = figure(1.1 + 1.35 * len(panels))
    grid = picture.subplots(len(panels), 1, sharex=True, squeeze=False)
    for place, (quantity, curves) in enumerate(panels.items()):
        axes = grid[place, 0]
        rate_panel(axes, along, curves)
        dress(axes, TITLES.get(quantity, quantity), "step" if place == len(panels) - 1 else "", steps=True)
        legend(axes)
    return picture

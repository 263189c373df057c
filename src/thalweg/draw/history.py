"""A whole run at a glance: loss, rate, momentum, gradient norm and metrics in one figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.draw.arrays import Curve, aligned
from thalweg.draw.loss_curve import loss_panel, mark_gaps, spans_decades
from thalweg.draw.rates import TITLES, by_quantity, rate_panel
from thalweg.draw.style import SERIES, dress, figure, legend, series
from thalweg.draw.thin import thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["history"]

_NOT_RATES = {"step", "epoch", "loss", "smoothed", "grad_norm", "weight"}
_NOT_METRICS = {"epoch", "step", "loss", "val_loss", "seconds"}


def _norm_panel(axes: Axes, step: Curve, norm: Curve) -> None:
    """Draw the gradient's norm, whose spikes matter and whose NaN entries are gaps."""
    kept = thin(norm)
    axes.plot(step[kept], norm[kept], color=SERIES[2], linewidth=0.7, marker="o" if step.size == 1 else None)
    if spans_decades(norm):
        axes.set_yscale("log")
    axes.margins(x=0.015)
    mark_gaps(axes, step, norm)


def _metric_panel(axes: Axes, epoch: Curve, curves: Mapping[str, Curve]) -> None:
    """Draw the metrics, one line each, with a point per epoch."""
    for index, (name, values) in enumerate(curves.items()):
        colour, dash = series(index + 1)
        size = 4 if epoch.size <= 40 else 0
        axes.plot(epoch, values, color=colour, linestyle=dash, linewidth=1.5, marker="o", markersize=size, label=name)
    axes.margins(x=0.03)


def _metric_groups(epochs: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Pair ``val_accuracy`` with ``accuracy`` and leave out what was never recorded."""
    groups: dict[str, dict[str, Curve]] = {}
    for name, values in epochs.items():
        if name not in _NOT_METRICS and not np.isnan(values).all():
            groups.setdefault(name.removeprefix("val_"), {})[
                "validation" if name.startswith("val_") else "training"
            ] = values
    return groups


def _as_columns(epochs: Mapping[str, ArrayLike] | Sequence[Mapping[str, float]] | None) -> dict[str, ArrayLike]:
    """Turn rows, one per epoch, into columns; what a row does not hold is NaN."""
    if epochs is None or isinstance(epochs, Mapping):
        return dict(epochs or {})
    names = dict.fromkeys(name for row in epochs for name in row)
    return {name: [float(row.get(name, np.nan)) for row in epochs] for name in names}


def history(
    columns: Mapping[str, ArrayLike],
    epochs: Mapping[str, ArrayLike] | Sequence[Mapping[str, float]] | None = None,
) -> Figure:
    """Return a run's loss, rate, momentum, gradient norm and metrics in one figure.

    The loss fills the width; every other quantity that was recorded has a panel of its own beneath it.

    Args:
        columns: per update, each of shape ``(n,)``: ``step`` and ``loss``, and where recorded ``smoothed``,
            ``grad_norm``, ``lr``, ``momentum`` and ``lr/<group>``, ``momentum/<group>``.
        epochs: per epoch, each of shape ``(m,)``: ``epoch`` and ``step``, and where there was a validation ``val_loss``
            and ``val_<metric>``, or ``<metric>`` measured in training. A list of rows, one mapping per epoch, will do.

    Returns:
        A :class:`matplotlib.figure.Figure`; its first axis is the loss.

    Raises:
        TypeError: something cannot be read as numbers.
        ValueError: ``step`` or ``loss`` is missing, or lengths differ.

    >>> picture = history({"step": [1, 2], "loss": [2.0, 1.0], "lr": [0.1, 0.1], "grad_norm": [3.0, 2.0]})
    >>> [axes.get_title(loc="left") for axes in picture.axes]
    ['loss', 'learning rate', 'gradient norm']
    """
    for needed in ("step", "loss"):
        if needed not in columns:
            raise ValueError(
                f"history: no column {needed!r} among {', '.join(columns) or 'none'}; pass at least 'step' and 'loss'."
            )
    step, found = aligned("history", "step", columns["step"], {k: v for k, v in columns.items() if k != "step"})
    held = _as_columns(epochs)
    along_epochs: dict[str, Curve] = {}
    epoch = np.zeros(0)
    if held:
        if "epoch" not in held:
            raise ValueError("history: epochs has no column 'epoch'; pass the epochs' numbers with their values.")
        epoch, along_epochs = aligned("history", "epoch", held.pop("epoch"), held)

    panels: list[tuple[str, str, Callable[[Axes], None]]] = []  # title, what runs along x, what draws it
    rates = by_quantity({name: values for name, values in found.items() if name not in _NOT_RATES})
    for quantity, curves in rates.items():
        panels.append((TITLES.get(quantity, quantity), "step", partial(rate_panel, step=step, curves=curves)))
    norm = found.get("grad_norm")
    if norm is not None and not np.isnan(norm).all():
        panels.append(("gradient norm", "step", partial(_norm_panel, step=step, norm=norm)))
    for name, curves in _metric_groups(along_epochs).items():
        panels.append((name, "epoch", partial(_metric_panel, epoch=epoch, curves=curves)))

    rows = -(-len(panels) // 2)
    picture = figure(3.0 + 1.75 * rows)
    grid = picture.add_gridspec(1 + rows, 2, height_ratios=[1.55] + [1.0] * rows)
    axes = picture.add_subplot(grid[0, :])
    valid = None
    if "val_loss" in along_epochs and "step" in along_epochs and not np.isnan(along_epochs["val_loss"]).all():
        valid = (along_epochs["step"], along_epochs["val_loss"])
    loss_panel(axes, step, found["loss"], found.get("smoothed"), valid, None)
    dress(axes, "loss", "step", steps=True)
    legend(axes)
    for place, (title, xlabel, draw) in enumerate(panels):
        alone = place == len(panels) - 1 and place % 2 == 0
        axes = picture.add_subplot(grid[1 + place // 2, :] if alone else grid[1 + place // 2, place % 2])
        draw(axes)
        dress(axes, title, xlabel, steps=True)
        legend(axes, columns=2)
    return picture

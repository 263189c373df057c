"""A surface from above: filled levels, their lines, and the path of training over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.draw.arrays import Curve, curve
from thalweg.draw.style import INK, MUTED, dress, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "contour", "contour_panel", "grid_of"]

#: From the valley (dark, cold) to the heights (light, warm); lightness rises throughout, so that it reads without
#: colour.
COLOURS = ("#0b2a4a", "#0168aa", "#4f9fc0", "#a9cfc9", "#efe3bd", "#f6f1e4")
_LEVELS = 18


def grid_of(where: str, alphas: ArrayLike, betas: ArrayLike, values: ArrayLike) -> tuple[Curve, Curve, Any]:
    """Return the three as arrays of shapes ``(n,)``, ``(m,)`` and ``(n, m)``.

    Raises:
        ValueError: other shapes.
    """
    x, y = curve(where, "alphas", alphas), curve(where, "betas", betas)
    z = np.asarray(values, dtype=np.float64)
    if z.shape != (x.size, y.size):
        raise ValueError(
            f"{where}: values have the shape {z.shape} for {x.size} alphas and {y.size} betas; pass one value per "
            f"pair, "
            f"shape ({x.size}, {y.size})."
        )
    return x, y, z


def levels_of(values: Any, log: bool, count: int = _LEVELS) -> Any:
    """Return *count* rising levels over the finite *values*; geometric ones where *log*.

    >>> levels_of(np.array([1.0, 100.0]), True, 3).round(6).tolist()
    [1.0, 10.0, 100.0]
    """
    finite = values[np.isfinite(values)]
    if log:
        finite = finite[finite > 0]
    if not finite.size:
        return np.array([0.0, 1.0])
    low, high = float(finite.min()), float(finite.max())
    if not high > low:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
        log = log and low > 0
    found = np.geomspace(low, high, count) if log else np.linspace(low, high, count)
    found[-1] = np.nextafter(max(found[-1], high), np.inf)  # the highest point lies inside
    found[0] = min(found[0], low)
    return found


def contour_panel(
    axes: Axes, x: Curve, y: Curve, z: Any, *, log: bool, path: Any = None, labels: Sequence[str] = ("α", "β")
) -> Any:
    """Draw the levels on *axes* and return what a colour bar needs; see :func:`contour`."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize

    colours = LinearSegmentedColormap.from_list("thalweg", COLOURS)
    levels = levels_of(z, log)
    norm = LogNorm(levels[0], levels[-1]) if log and levels[0] > 0 else Normalize(levels[0], levels[-1])
    shown = np.ma.masked_invalid(z.T)
    if log:
        shown = np.ma.masked_less_equal(shown, 0)
    axes.set_facecolor("#d9dce0")
    filled: Any = None
    if min(z.shape) >= 2:
        filled = axes.contourf(x, y, shown, levels=levels, cmap=colours, norm=norm)
        axes.contour(x, y, shown, levels=levels[1:-1], colors="#0b2a4a", linewidths=0.35, alpha=0.55)
    else:
        xx, yy = np.meshgrid(x, y, indexing="ij")
        filled = axes.scatter(xx, yy, c=z, cmap=colours, norm=norm)
    bad = ~np.isfinite(z)
    if bad.any():
        where = np.argwhere(bad)
        where = where[np.unique(np.linspace(0, len(where) - 1, min(len(where), 600)).astype(int))]
        axes.plot(
            x[where[:, 0]],
            y[where[:, 1]],
            linestyle="none",
            marker="x",
            markersize=3.5,
            color=MUTED,
            label=f"not finite ({int(bad.sum()):,})",
        )
    if path is None:
        inside = x[0] <= 0 <= x[-1] and y[0] <= 0 <= y[-1]
        if inside:
            axes.plot([0], [0], marker="+", markersize=9, markeredgewidth=1.4, color="white", linestyle="none")
    else:
        axes.plot(path[:, 0], path[:, 1], color="white", linewidth=2.6)
        axes.plot(path[:, 0], path[:, 1], color="#be4800", linewidth=1.3, marker="o", markersize=2.6, label="training")
        axes.plot(
            *path[0], marker="o", markersize=6, color="white", markeredgecolor=INK, linestyle="none", label="start"
        )
        axes.plot(
            *path[-1],
            marker="*",
            markersize=11,
            color="#be4800",
            markeredgecolor="white",
            linestyle="none",
            label="end",
        )
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(y[0], y[-1])
    if bad.any() or path is not None:
        axes.legend(loc="upper right", fontsize=7.5, frameon=True, framealpha=0.85, edgecolor="none")
    axes.set_ylabel(labels[1], fontsize=9, color=MUTED)
    return filled


def contour(
    alphas: ArrayLike,
    betas: ArrayLike,
    values: ArrayLike,
    *,
    path: Any = None,
    path_values: Any = None,
    title: str = "loss",
    labels: Sequence[str] = ("α", "β"),
    log: bool = False,
    note: str = "",
) -> Figure:
    """Return a surface as levels seen from above; points that are not finite are grey and marked.

    Args:
        alphas: coordinates, shape ``(n,)``.
        betas: coordinates, shape ``(m,)``.
        values: losses, shape ``(n, m)``.
        path: coordinates of a training path, shape ``(p, 2)``.
        path_values: not needed here; taken so that all surface figures have the same arguments.
        title: what is drawn.
        labels: of the two axes.
        log: whether levels rise by equal factors.
        note: a small line beneath.

    Raises:
        ValueError: shapes that do not fit.

    >>> picture = contour([-1, 0, 1], [0, 1], [[1, 2], [0, 1], [1, 2]])
    >>> picture.axes[0].get_title(loc="left")
    'loss'
    """
    x, y, z = grid_of("contour", alphas, betas, values)
    picture = figure(5.2, 6.4)
    axes = picture.add_subplot()
    filled = contour_panel(axes, x, y, z, log=log, path=path, labels=labels)
    dress(axes, title, labels[0])
    axes.grid(False)
    bar = picture.colorbar(filled, ax=axes, shrink=0.85, aspect=28, format="%.3g")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=MUTED, length=2)
    if note:
        picture.supxlabel(note, fontsize=7.5, color=MUTED, x=0.01, ha="left", wrap=True)
    return picture

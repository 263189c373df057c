"""A surface cut by an upright plane, beside the profile of the cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.draw.arrays import aligned
from thalweg.draw.contour import grid_of
from thalweg.draw.loss_curve import mark_gaps
from thalweg.draw.style import MUTED, dress, figure, series
from thalweg.draw.surface3d import surface_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["section"]


def section(
    alphas: ArrayLike,
    betas: ArrayLike,
    values: ArrayLike,
    coordinates: Any,
    profile: ArrayLike,
    *,
    along: ArrayLike,
    title: str = "the cut",
    xlabel: str = "share of the way",
    labels: Sequence[str] = ("α", "β"),
    log: bool = False,
    note: str = "",
) -> Figure:
    """Return the surface with the cutting plane through it, and the profile of the cut beside it.

    Args:
        alphas, betas: the axes, shapes ``(n,)`` and ``(m,)``.
        values: losses, shape ``(n, m)``.
        coordinates: the points of the cut, shape ``(p, 2)``.
        profile: the losses there, shape ``(p,)``; those that are not finite are gaps.
        along: the profile's own coordinate, shape ``(p,)``.
        title: what is cut, and where.
        xlabel: what *along* is.
        labels: what the two axes are.
        log: whether heights are logarithmic.
        note: a small line beneath.

    >>> cut = [[0, 0], [0.5, 0.5], [1, 1]]
    >>> picture = section([0, 1], [0, 1], [[0, 1], [1, 2]], cut, [0, 1, 2], along=[0, 0.5, 1])
    >>> [axes.name for axes in picture.axes]
    ['3d', 'rectilinear']
    """
    x, y, z = grid_of("section", alphas, betas, values)
    t, found = aligned("section", "along", along, {"profile": profile})
    cut, heights = np.asarray(coordinates, dtype=np.float64), np.asarray(found["profile"], dtype=np.float64)
    picture = figure(4.1, 9.6)
    solid: Any = picture.add_subplot(1, 2, 1, projection="3d")
    surface_panel(solid, x, y, z, log=log, path=cut, path_values=heights, labels=labels)
    low, high = solid.get_zlim()
    across, upwards = np.meshgrid([0, -1], [low, high])
    solid.plot_surface(cut[across, 0], cut[across, 1], upwards, color="#be4800", alpha=0.16, shade=False)
    solid.set_zlim(low, high)
    flat = picture.add_subplot(1, 2, 2)
    if log:
        flat.set_yscale("log")
    flat.plot(t, heights, color=series(1)[0], linewidth=1.6)
    mark_gaps(flat, t, heights)
    flat.margins(x=0.01)
    dress(flat, title, xlabel)
    if note:
        picture.supxlabel(note, fontsize=7.5, color=MUTED, x=0.01, ha="left")
    return picture

"""A surface in three dimensions, alone or beside its levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.draw.contour import COLOURS, contour_panel, grid_of
from thalweg.draw.style import INK, MUTED, dress, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plane_and_surface", "surface3d"]


def surface_panel(
    axes: Any,
    x: Any,
    y: Any,
    z: Any,
    *,
    log: bool,
    path: Any = None,
    path_values: Any = None,
    labels: Sequence[str] = ("α", "β"),
) -> None:
    """Draw the surface on three-dimensional *axes*; see :func:`surface3d`."""
    from matplotlib.colors import LightSource, LinearSegmentedColormap

    heights = np.where(np.isfinite(z), z, np.nan)
    if log:
        heights = np.log10(np.where(heights > 0, heights, np.nan))
    colours = LinearSegmentedColormap.from_list("thalweg", COLOURS)
    xx, yy = np.meshgrid(x, y, indexing="ij")
    finite = heights[np.isfinite(heights)]
    if finite.size and min(z.shape) >= 2:
        low, high = float(finite.min()), float(finite.max())
        norm = np.clip((heights - low) / ((high - low) or 1.0), 0, 1)
        face = colours(np.nan_to_num(norm))
        shaded = LightSource(azdeg=300, altdeg=50).shade_rgb(
            face[..., :3], np.nan_to_num(norm, nan=1.0), vert_exag=0.35 * min(z.shape), fraction=0.55, blend_mode="soft"
        )
        face[..., :3] = shaded
        face[~np.isfinite(heights)] = 0.0
        axes.plot_surface(
            xx,
            yy,
            heights,
            facecolors=face,
            rcount=min(len(x), 120),
            ccount=min(len(y), 120),
            linewidth=0.15,
            edgecolor=(0.04, 0.16, 0.29, 0.25),
            antialiased=True,
            shade=False,
        )
        axes.contour(
            xx,
            yy,
            heights,
            levels=12,
            zdir="z",
            offset=low - 0.12 * ((high - low) or 1.0),
            cmap=colours,
            linewidths=0.7,
        )
    if path is not None and path_values is not None:
        lifted = np.log10(np.maximum(path_values, 1e-300)) if log else path_values
        axes.plot(path[:, 0], path[:, 1], lifted, color="#be4800", linewidth=1.8, zorder=10)
        axes.plot(*path[-1], lifted[-1], marker="*", markersize=9, color="#be4800", markeredgecolor="white", zorder=11)
    axes.set_xlabel(labels[0], fontsize=8.5, color=MUTED, labelpad=-2)
    axes.set_ylabel(labels[1], fontsize=8.5, color=MUTED, labelpad=-2)
    axes.set_zlabel("log₁₀ loss" if log else "loss", fontsize=8.5, color=MUTED, labelpad=-2)
    axes.tick_params(labelsize=7, colors=MUTED, pad=-2)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1.0, 1.0, 1.0, 0.0))
        axis._axinfo["grid"].update(color="#e4e7eb", linewidth=0.6)
    axes.view_init(elev=32, azim=-58)


def surface3d(
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
    """Return a surface in three dimensions with its levels beneath; points that are not finite are holes.

    Arguments as those of :func:`thalweg.draw.contour`; *path_values*, shape ``(p,)``, are the losses along the path.

    >>> picture = surface3d([-1, 0, 1], [0, 1], [[1, 2], [0, 1], [1, 2]])
    >>> picture.axes[0].name
    '3d'
    """
    x, y, z = grid_of("surface3d", alphas, betas, values)
    picture = figure(5.0, 6.4)
    axes: Any = picture.add_subplot(projection="3d")
    surface_panel(axes, x, y, z, log=log, path=path, path_values=path_values, labels=labels)
    axes.set_title(title, loc="left", fontsize=9.5, color=INK, fontweight="bold")
    if note:
        picture.supxlabel(note, fontsize=7.5, color=MUTED, x=0.01, ha="left", wrap=True)
    return picture


def plane_and_surface(
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
    """Return levels seen from above and the surface in three dimensions, side by side.

    Arguments as those of :func:`thalweg.draw.contour`.

    >>> picture = plane_and_surface([-1, 0, 1], [0, 1], [[1, 2], [0, 1], [1, 2]])
    >>> [axes.name for axes in picture.axes]
    ['rectilinear', '3d', 'rectilinear']
    """
    x, y, z = grid_of("plane_and_surface", alphas, betas, values)
    picture = figure(4.1, 9.6)
    flat = picture.add_subplot(1, 2, 1)
    filled = contour_panel(flat, x, y, z, log=log, path=path, labels=labels)
    dress(flat, title, labels[0])
    flat.grid(False)
    solid: Any = picture.add_subplot(1, 2, 2, projection="3d")
    surface_panel(solid, x, y, z, log=log, path=path, path_values=path_values, labels=labels)
    bar = picture.colorbar(filled, ax=flat, shrink=0.9, aspect=30, format="%.3g")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=MUTED, length=2)
    if note:
        picture.supxlabel(note, fontsize=7.5, color=MUTED, x=0.01, ha="left")
    return picture

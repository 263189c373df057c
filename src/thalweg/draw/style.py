"""One calm style for every figure: colours, sizes, and what an axis looks like.

Nothing global is touched (no ``rcParams``, no pyplot): a figure is made by :func:`figure` and each of its axes is
dressed by :func:`dress`, so that a user's own matplotlib settings stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DASHES", "GRID", "INK", "MUTED", "SERIES", "WIDTH", "dress", "figure", "legend", "series"]

#: Line colours in the order of Okabe and Ito's ("Color universal design", 2008), moved until any two stay apart under
#: each of the three dichromacies and each has a contrast of at least 3:1 on white; a test measures both.
SERIES = ("#0168aa", "#be4800", "#1ba17e", "#b75c94", "#2d3237", "#c68805")
#: Line styles that take over when the colours have been used once.
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
INK = "#1f2328"
MUTED = "#59636e"
GRID = "#e4e7eb"
#: Inches; with the figures' 150 dots per inch 1,080 pixels, the width of a README at double density.
WIDTH = 7.2
_DPI = 150
_TEXT = 9.0


def series(index: int) -> tuple[str, str | tuple[float, tuple[float, ...]]]:
    """Return colour and line style of the *index*-th curve of a panel (they repeat after 18).

    >>> series(0)
    ('#0168aa', '-')
    >>> series(7)
    ('#be4800', (0, (4, 1.5)))
    """
    dash = DASHES[index // len(SERIES) % len(DASHES)]
    return SERIES[index % len(SERIES)], dash


def figure(height: float, width: float = WIDTH, *, pad: float | None = 0.08) -> Figure:
    """Return an empty figure of *width* × *height* inches that shows itself as a picture in a notebook.

    *pad* is the room around each axis, in inches; ``None`` leaves placing the axes to the caller.

    It belongs to no pyplot window and is never shown by itself: return it, or call ``.savefig(path)``.
    """
    from thalweg.draw.drawing import Drawing

    picture = Drawing(figsize=(width, height), dpi=_DPI, facecolor="white")
    if pad is not None:
        picture.set_layout_engine("constrained", w_pad=pad, h_pad=0.75 * pad, wspace=0.0, hspace=0.0)
    return picture


def dress(axes: Axes, title: str, xlabel: str = "", *, steps: bool = False) -> None:
    """Give *axes* the project's look: a title that names the quantity, a light grid, no top and right spines.

    Args:
        axes: what to dress.
        title: the quantity drawn, with its unit; stands upright above the axis, where it reads easier than turned.
        xlabel: what runs along the x-axis; empty for upper panels that share it.
        steps: whether x counts something, so that its ticks are whole numbers with thousands separators.
    """
    axes.set_title(title, loc="left", fontsize=_TEXT + 0.5, color=INK, fontweight="bold", pad=7)
    if xlabel:
        axes.set_xlabel(xlabel, fontsize=_TEXT, color=MUTED)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#aab2ba")
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(which="both", labelsize=_TEXT - 0.5, colors="#aab2ba", labelcolor=MUTED, length=3, width=0.8)
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if steps:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def legend(axes: Axes, labels: Sequence[str] | None = None, *, columns: int = 4) -> None:
    """Put the legend above the axes at the right, outside the curves; nothing is drawn where nothing is labelled."""
    handles, found = axes.get_legend_handles_labels()
    if not handles:
        return
    box = axes.legend(
        handles,
        list(labels) if labels is not None else found,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.1,
        ncols=columns,
        frameon=False,
        fontsize=_TEXT - 0.5,
        labelcolor=INK,
        handlelength=1.6,
        columnspacing=1.3,
        handletextpad=0.5,
    )
    for line in box.get_lines():
        # A pale or thin curve must still be recognised in the legend.
        line.set_alpha(None if (line.get_alpha() or 1.0) >= 0.5 else 0.5)
        line.set_linewidth(max(float(line.get_linewidth()), 1.6))

"""Eigenvalues of a Hessian as stems on a logarithmic axis that keeps their sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thalweg.draw.arrays import curve
from thalweg.draw.style import INK, MUTED, SERIES, dress, figure, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["spectrum"]


def spectrum(
    largest: ArrayLike,
    smallest: ArrayLike | None = None,
    *,
    edge: float | None = None,
    edge_label: str = "",
    note: str = "",
) -> Figure:
    """Return eigenvalues in falling order, the largest at the left and the smallest at the right.

    Args:
        largest: in falling order, shape ``(k,)``.
        smallest: in rising order, shape ``(l,)``, or None.
        edge: a value that a line marks (2/lr: where gradient descent at that rate stops being stable).
        edge_label: its name in the legend.
        note: a small line beneath.

    >>> picture = spectrum([4.0, 1.0], [-0.5], edge=2.0, edge_label="2/lr")
    >>> picture.axes[0].get_yscale()
    'symlog'
    """
    top = curve("spectrum", "largest", largest)
    low = curve("spectrum", "smallest", smallest)[::-1] if smallest is not None else np.array([])
    both = np.concatenate([top, low])
    picture = figure(3.2)
    axes = picture.add_subplot()
    places = np.concatenate([np.arange(top.size), top.size + 1 + np.arange(low.size)])
    finite = np.abs(both[np.isfinite(both) & (both != 0)])
    axes.set_yscale("symlog", linthresh=max(float(finite.min()), 1e-3 * float(finite.max())) if finite.size else 1.0)
    axes.vlines(places, 0, both, color=SERIES[0], linewidth=1.4)
    positive = both >= 0
    axes.plot(places[positive], both[positive], "o", color=SERIES[0], markersize=5, label="positive")
    if (~positive).any():
        axes.plot(places[~positive], both[~positive], "o", color=SERIES[1], markersize=5, label="negative")
    axes.axhline(0, color=INK, linewidth=0.8)
    if edge is not None:
        axes.axhline(edge, color=SERIES[5], linewidth=1.2, linestyle=(0, (4, 1.5)), label=edge_label or f"{edge:.3g}")
    dress(axes, "eigenvalues of the Hessian", "largest … smallest")
    axes.set_xticks([])
    legend(axes)
    if note:
        picture.supxlabel(note, fontsize=7.5, color=MUTED, x=0.01, ha="left")
    return picture

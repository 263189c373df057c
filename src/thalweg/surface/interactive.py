"""Figures for the report: plotly's JSON, written by hand so that plotly itself need not be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["line_figure", "plane_figure", "spectrum_figure"]

Array = NDArray[np.float64]

_COLOURS = [[0.0, "#0b2a4a"], [0.25, "#0168aa"], [0.5, "#5aa9c4"], [0.75, "#e9d8a6"], [1.0, "#be4800"]]


def _numbers(values: Array) -> list[Any]:
    """Return nested lists in which what is not finite is None: JSON has no NaN."""
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values]


def line_figure(alphas: Array, values: Array, title: str, xlabel: str, summary: str) -> dict[str, Any]:
    """Return curves over α, one per batch; arguments as those of ``thalweg.draw.lines``."""
    curves = np.atleast_2d(values)
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "x": _numbers(alphas),
                "y": _numbers(curve),
                "name": "loss" if len(curves) == 1 else f"batch {place + 1}",
                "line": {"color": f"--series-{place % 6 + 1}"},
                "hovertemplate": "α %{x:.4g}<br>loss %{y:.6g}<extra></extra>",
            }
            for place, curve in enumerate(curves)
        ],
        "layout": {
            "title": {"text": title[:1].upper() + title[1:]},
            "meta": {"summary": summary},
            "xaxis": {"title": {"text": xlabel}},
            "yaxis": {"title": {"text": "loss"}},
            "showlegend": len(curves) > 1,
        },
    }


def plane_figure(
    alphas: Array,
    betas: Array,
    values: Array,
    title: str,
    labels: Sequence[str],
    summary: str,
    path: Array | None = None,
    path_values: Array | None = None,
    log: bool = False,
) -> dict[str, Any]:
    """Return a surface that turns under the mouse and says α, β and the loss of each point.

    Args:
        alphas: **(n,)**.
        betas: **(m,)**.
        values: **(n, m)**.
        title: heading.
        labels: of the two axes.
        summary: a sentence about it.
        path: coordinates of a training path, **(p, 2)**.
        path_values: its losses, **(p,)**.
        log: whether heights are logarithms of the loss; the hover shows the loss itself.
    """
    heights = values
    if log:
        with np.errstate(invalid="ignore", divide="ignore"):
            heights = np.log10(np.where(values > 0, values, np.nan))
    tip = f"{labels[0]} %{{x:.4g}}<br>{labels[1]} %{{y:.4g}}<br>loss %{{customdata:.6g}}<extra></extra>"
    traces: list[dict[str, Any]] = [
        {
            "type": "surface",
            "x": _numbers(alphas),
            "y": _numbers(betas),
            "z": _numbers(heights.T),
            "customdata": _numbers(values.T),
            "colorscale": _COLOURS,
            "colorbar": {"title": {"text": "log₁₀ loss" if log else "loss"}, "thickness": 12, "len": 0.7},
            "contours": {"z": {"show": True, "usecolormap": True, "width": 1}},
            "hovertemplate": tip,
        }
    ]
    if path is not None and path_values is not None:
        lifted = np.log10(np.maximum(path_values, 1e-300)) if log else path_values
        traces.append(
            {
                "type": "scatter3d",
                "mode": "lines+markers",
                "x": _numbers(path[:, 0]),
                "y": _numbers(path[:, 1]),
                "z": _numbers(lifted),
                "customdata": _numbers(path_values),
                "line": {"color": "#2d3237", "width": 5},
                "marker": {"size": 3, "color": "#2d3237"},
                "name": "training",
                "hovertemplate": tip,
            }
        )
    return {
        "data": traces,
        "layout": {
            "title": {"text": title[:1].upper() + title[1:]},
            "meta": {"summary": summary},
            "height": 560,
            "margin": {"l": 0, "r": 0, "t": 10, "b": 0},
            "showlegend": False,
            "scene": {
                "xaxis": {"title": {"text": labels[0]}},
                "yaxis": {"title": {"text": labels[1]}},
                "zaxis": {"title": {"text": "log₁₀ loss" if log else "loss"}},
                "aspectmode": "cube",
                "camera": {"eye": {"x": 1.45, "y": -1.45, "z": 0.95}},
            },
        },
    }


def spectrum_figure(
    largest: Array, smallest: Array, edge: float | None, lr: float | None, summary: str
) -> dict[str, Any]:
    """Return the eigenvalues as bars, with a line at 2/lr where a rate is known.

    Args:
        largest: falling, **(k,)**.
        smallest: rising, **(l,)**.
        edge: 2/lr, or None.
        lr: the rate.
        summary: a sentence about them.
    """
    names = [f"λ{place + 1}" for place in range(len(largest))]
    names += [f"λ{place} from below" for place in range(len(smallest), 0, -1)]
    values = np.concatenate([largest, smallest[::-1]])
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "x": names,
            "y": _numbers(values),
            "name": "eigenvalue",
            "marker": {"color": "--series-1"},
            "hovertemplate": "%{x}: %{y:.6g}<extra></extra>",
        }
    ]
    if edge is not None:
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": names,
                "y": [edge] * len(names),
                "name": f"2/lr at lr = {lr:g}",
                "line": {"color": "--series-2", "dash": "dash"},
                "hovertemplate": f"2/lr = {edge:.6g}<extra></extra>",
            }
        )
    return {
        "data": traces,
        "layout": {
            "title": {"text": "Curvature: eigenvalues of the Hessian"},
            "meta": {"summary": summary},
            "xaxis": {"title": {"text": ""}},
            "yaxis": {"title": {"text": "eigenvalue"}},
            "showlegend": edge is not None,
        },
    }

"""The figures of a race: the loss against the rate, and the curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Curve", "curves_figure", "plot", "sensitivity_figure"]

Array = NDArray[np.float64]
#: Name, coordinates, values, spread (or None).
Curve = tuple[str, Array, Array, "Array | None"]


def _numbers(values: Array) -> list[float | None]:
    """Return a list in which what is not finite is None: JSON has no NaN."""
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in values.tolist()]


def _figure(curves: Sequence[Curve], title: str, xlabel: str, ylabel: str, summary: str, log_x: bool) -> dict[str, Any]:
    positive = all(not np.isfinite(y).any() or np.nanmin(y[np.isfinite(y)]) > 0 for _, _, y, _ in curves)
    traces = []
    for place, (name, x, y, spread) in enumerate(curves):
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "lines+markers" if x.size <= 64 else "lines",
            "x": _numbers(x),
            "y": _numbers(y),
            "name": name,
            "line": {"color": f"--series-{place % 6 + 1}"},
            "hovertemplate": f"{name}<br>{xlabel} %{{x:.4g}}<br>{ylabel} %{{y:.6g}}<extra></extra>",
        }
        if spread is not None and np.isfinite(spread).any():
            trace["error_y"] = {"type": "data", "array": _numbers(spread), "visible": True, "thickness": 1}
        traces.append(trace)
    return {
        "data": traces,
        "layout": {
            "title": {"text": title},
            "meta": {"summary": summary},
            "xaxis": {"title": {"text": xlabel}, "type": "log" if log_x else "linear"},
            "yaxis": {"title": {"text": ylabel}, "type": "log" if positive else "linear"},
            "showlegend": len(traces) > 1,
        },
    }


def sensitivity_figure(curves: Sequence[Curve], ylabel: str) -> dict[str, Any]:
    """Return the final loss against the rate, one curve per rule, in plotly's JSON for the report."""
    summary = "Final loss over the rate; per rule and rate the best of the other settings. Gaps diverged."
    return _figure(curves, "Sensitivity to the rate", "rate", ylabel, summary, log_x=True)


def curves_figure(curves: Sequence[Curve], ylabel: str) -> dict[str, Any]:
    """Return losses over updates, one curve per setting, in plotly's JSON for the report."""
    return _figure(curves, "Race", "update", ylabel, f"{ylabel} of the leading settings over the updates.", log_x=False)


def plot(sensitivity: Sequence[Curve], curves: Sequence[Curve], ylabels: Mapping[str, str]) -> Figure:
    """Return both as one matplotlib figure."""
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(9.0, 3.6), layout="constrained")
    left, right = picture.subplots(1, 2)
    for name, x, y, spread in sensitivity:
        error = None if spread is None else np.nan_to_num(spread)
        left.errorbar(x, y, yerr=error, marker="o", markersize=3, linewidth=1.2, label=name)
    left.set_xscale("log")
    left.set_xlabel("rate")
    left.set_ylabel(ylabels["sensitivity"])
    for name, x, y, _ in curves:
        right.plot(x, y, linewidth=1.2, label=name)
    right.set_xlabel("update")
    right.set_ylabel(ylabels["curves"])
    for axes, drawn in ((left, sensitivity), (right, curves)):
        values = np.concatenate([y for _, _, y, _ in drawn]) if drawn else np.ones(1)
        finite = values[np.isfinite(values)]
        if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
            axes.set_yscale("log")
        axes.spines[["top", "right"]].set_visible(False)
        if drawn:
            axes.legend(frameon=False, fontsize=7)
    return picture

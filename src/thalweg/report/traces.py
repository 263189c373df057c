"""The pieces that the report's charts are made of: thinned lines, and marks where a value is not finite."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.draw import thin

__all__ = ["LIMIT", "bad_marks", "line", "numbers", "plain", "thinning_note"]

Array = NDArray[np.float64]
#: Curves with more points than this are thinned for drawing.
LIMIT = 5000
_MARKS = 400


def plain(text: str) -> str:
    """Return *text* so that plotly, which reads some markup in its labels, shows it as it is.

    >>> plain('<b>"0.5" & more</b>')
    '&lt;b&gt;"0.5" &amp; more&lt;/b&gt;'
    """
    return html.escape(text, quote=False)


def numbers(values: Array) -> list[float | int | None]:
    """Return *values* for JSON: six significant digits, whole numbers as such, ``None`` for what is not finite.

    >>> numbers(np.array([1.0, 0.123456789, np.nan, np.inf]))
    [1, 0.123457, None, None]
    """
    short = (float(f"{value:.6g}") if abs(value) < 1e6 else value for value in values.tolist())
    return [(int(v) if v.is_integer() else v) if np.isfinite(v) else None for v in short]


def line(
    name: str,
    x: Array,
    y: Array,
    colour: str,
    *,
    width: float = 2.0,
    opacity: float = 1.0,
    dash: str = "solid",
    points: bool = False,
    hover: str = "%{y:.5~g}",
    **more: Any,
) -> dict[str, Any]:
    """Return a plotly line through *x* and *y*, both of shape ``(n,)``; gaps where *y* is not finite.

    Points are drawn where asked, and always where a line through fewer than two neighbours would show nothing.
    """
    kept = thin(y, LIMIT)
    marked = points or x.size < 3
    return {
        "type": "scatter",
        "mode": "lines+markers" if marked else "lines",
        "name": plain(name),
        "x": numbers(x[kept]),
        "y": numbers(y[kept]),
        "opacity": opacity,
        "line": {"color": colour, "width": width, "dash": dash},
        "marker": {"color": colour, "size": 6},
        "connectgaps": False,
        "hovertemplate": hover,
        **more,
    }


def bad_marks(what: str, x: Array, y: Array, along: str = "step") -> tuple[dict[str, Any] | None, str]:
    """Return marks on the x-axis where *y* is NaN or infinite, and a sentence that counts them.

    The marks live on the overlaid axis ``y9``, which runs from 0 to 1 over the chart's height, so that they stand at
    the bottom whatever the data's range and whether its axis is logarithmic.
    """
    bad = np.flatnonzero(~np.isfinite(y))
    if not bad.size:
        return None, ""
    shown = bad[np.unique(np.linspace(0, bad.size - 1, min(bad.size, _MARKS)).astype(int))]
    marks = {
        "type": "scatter",
        "mode": "markers",
        "name": f"not finite ({bad.size:,})",
        "x": numbers(x[shown]),
        "y": [0.025] * shown.size,
        "yaxis": "y9",
        "text": [str(value) for value in y[shown].tolist()],
        "hovertemplate": f"{plain(what)} is %{{text}}<extra></extra>",
        "marker": {"symbol": "x", "size": 8, "color": "--ink"},
    }
    note = (
        f"{bad.size:,} of {y.size:,} values of {what} {'is' if bad.size == 1 else 'are'} not finite, the first at "
        f"{along} {x[bad[0]]:,.0f} ({y[bad[0]]}); they are gaps, marked × on the axis."
    )
    if shown.size < bad.size:
        note += f" {shown.size:,} of the marks are drawn."
    return marks, note


def thinning_note(count: int) -> str:
    """Return what the reader is told about a curve of *count* values that was thinned, or nothing.

    >>> thinning_note(100)
    ''
    >>> thinning_note(1_000_000)[:45]
    'Drawn from 1,000,000 values: the lowest, the '
    """
    if count <= LIMIT:
        return ""
    return (
        f"Drawn from {count:,} values: the lowest, the highest and the first non-finite one of every "
        f"{-(-count // ((LIMIT - 2) // 3)):,}, so that spikes and gaps stay. history.csv holds them all."
    )

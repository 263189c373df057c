"""Figures that other parts of Thalweg put into a run directory, as charts of the page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from thalweg.report.charts import Chart

__all__ = ["added_charts"]

_TAG = re.compile(r"<[^>]*>")
#: Decided by the page: its theme, its width.
_PAGE_DECIDES = ("title", "template", "width", "paper_bgcolor", "autosize", "font")


def _title(layout: Mapping[str, Any], name: str) -> str:
    """Return the layout's title without plotly's markup, or the file's name."""
    title = layout.get("title")
    text = title.get("text") if isinstance(title, Mapping) else title
    if text:
        return " ".join(_TAG.sub(" ", str(text)).split())
    said = name.replace("_", " ").replace("-", " ").strip() or "figure"
    return said[0].upper() + said[1:]


def added_charts(figures: Mapping[str, Mapping[str, Any]]) -> list[Chart]:
    """Return a chart for each figure, in the order given; see :func:`thalweg.report.run_files.read_figures`.

    >>> charts = added_charts({"loss-plane": {"data": [], "layout": {"title": {"text": "Loss <b>plane</b>"}}}})
    >>> charts[0].key, charts[0].title
    ('figure-1', 'Loss plane')
    """
    charts = []
    for place, (name, figure) in enumerate(figures.items()):
        layout = dict(figure.get("layout") or {})
        meta = layout.get("meta")
        summary = str(meta.get("summary", "")) if isinstance(meta, Mapping) else ""
        kept = {key: value for key, value in layout.items() if key not in _PAGE_DECIDES}
        charts.append(
            Chart(
                key=f"figure-{place + 1}",
                title=_title(layout, name),
                summary=summary,
                figure={"data": _finite(figure["data"]), "layout": _finite(kept)},
                wide=True,
            )
        )
    return charts


def _finite(value: Any) -> Any:
    """Return *value* with NaN and infinities as ``None``, which is how JSON and plotly write a gap."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value

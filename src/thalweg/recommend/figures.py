"""What a model has learnt of the items, as figures of a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from thalweg.checkpoint import write_text
from thalweg.draw import Table, table_figure

from .reading import Reading

__all__ = ["write_reading"]

_LISTED = 12
_MAPPED = 300


def write_reading(reading: Reading, folder: Path, *, at_least: int = 20) -> list[Path]:
    """Write the items by bias, axes, map and neighbours of the most rated ones into *folder*, for ``report.html``.

    Args:
        reading: of a trained model.
        folder: made if it is not there.
        at_least: items with fewer ratings are not listed by bias.

    Returns:
        the files: plotly figures as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    figures = {
        "items-by-bias": bias_figure(reading, at_least),
        "items-by-axis": axes_figure(reading),
        "items-map": map_figure(reading),
        "items-neighbours": neighbours_figure(reading),
    }
    for name, figure in figures.items():
        path = folder / f"{name}.json"
        write_text(path, json.dumps(figure, ensure_ascii=False) + "\n")
        written.append(path)
    return written


def bias_figure(reading: Reading, at_least: int) -> dict[str, Any]:
    """Return bars of the highest and the lowest biases, with mean ratings and counts beside them."""
    bars = []
    for table, name in (
        (reading.disliked_beyond_factors(_LISTED, at_least=at_least), "disliked beyond their factors"),
        (reading.liked_beyond_factors(_LISTED, at_least=at_least), "liked beyond their factors"),
    ):
        rows = list(table.rows)[::-1] if name.startswith("liked") else list(table.rows)
        bars.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "x": [row[1] for row in rows],
                "y": [row[0] for row in rows],
                "customdata": [[row[2], row[3]] for row in rows],
                "hovertemplate": "%{y}: bias %{x:.3f}, mean %{customdata[0]}, %{customdata[1]} ratings<extra></extra>",
            }
        )
    layout = {
        "title": {"text": "Items by bias"},
        "xaxis": {"title": {"text": "bias"}},
        "yaxis": {"automargin": True},
        "height": 40 * _LISTED + 160,
        "meta": {"summary": "Liked and disliked by everybody, whatever their factors say"},
    }
    return {"data": bars, "layout": layout}


def axes_figure(reading: Reading, components: int = 3, n: int = 6) -> dict[str, Any]:
    """Return, one above the other, the items at both ends of the first axes."""
    axes = reading.pca(components, most_rated=_MAPPED)
    n = min(n, len(axes.titles) // 2)
    bars: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "title": {"text": "Items at the ends of each axis"},
        "height": components * (44 * n + 60),
        "showlegend": False,
        "meta": {"summary": "What the factors tell apart: the most rated items farthest out on each principal axis"},
    }
    for axis in range(components):
        order = axes.places[:, axis].argsort(kind="stable")
        ends = [*order[:n], *order[-n:]]
        number = "" if axis == 0 else str(axis + 1)
        top = 1 - axis / components
        bars.append(
            {
                "type": "bar",
                "orientation": "h",
                "x": axes.places[ends, axis].tolist(),
                "y": [axes.titles[k] for k in ends],
                "xaxis": f"x{number}",
                "yaxis": f"y{number}",
                "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
            }
        )
        name = f"axis {axis + 1} ({axes.share[axis]:.0%} of the variance)"
        layout[f"xaxis{number}"] = {"title": {"text": name}, "anchor": f"y{number}"}
        layout[f"yaxis{number}"] = {
            "automargin": True,
            "anchor": f"x{number}",
            "domain": [top - 1 / components + 0.08, top],
        }
    return {"data": bars, "layout": layout}


def neighbours_figure(reading: Reading, n: int = 3) -> dict[str, Any]:
    """Return a table of the most rated items and those whose factors are nearest to theirs."""
    ids = [reading.ratings.item_ids.id_of(row) for row in reading.most_rated(_LISTED).tolist()]
    near = [[found.title for found in reading.similar(one, n)] for one in ids]
    rows = [[reading.ratings.title(one), *(titles + [""] * n)[:n]] for one, titles in zip(ids, near, strict=True)]
    table = Table(rows, ["item", "nearest", *[f"{place + 1}." for place in range(1, n)]])
    summary = "The most rated items, and those that point the same way in the space of factors"
    return table_figure(table, "Nearest neighbours", summary)


def map_figure(reading: Reading) -> dict[str, Any]:
    """Return the most rated items in the plane of the first two axes, coloured by their mean rating."""
    axes = reading.pca(2, most_rated=_MAPPED)
    rows = reading.most_rated(_MAPPED)
    means = reading.means()[rows - 1]
    labelled = 40
    texts = [title if k < labelled else "" for k, title in enumerate(axes.titles)]
    points = {
        "type": "scatter",
        "mode": "markers+text",
        "x": torch.from_numpy(axes.places[:, 0]).tolist(),
        "y": torch.from_numpy(axes.places[:, 1]).tolist(),
        "text": texts,
        "textposition": "top center",
        "textfont": {"size": 9},
        "hovertext": list(axes.titles),
        "hoverinfo": "text",
        "marker": {"color": means.tolist(), "colorbar": {"title": {"text": "mean rating"}}, "size": 6},
    }
    layout = {
        "title": {"text": "Items by their factors"},
        "xaxis": {"title": {"text": f"axis 1 ({axes.share[0]:.0%} of the variance)"}},
        "yaxis": {"title": {"text": f"axis 2 ({axes.share[1]:.0%})"}},
        "height": 640,
        "meta": {"summary": "The most rated items in the plane in which their factors differ most"},
    }
    return {"data": [points], "layout": layout}

"""Putting the page together: one file, no request to any network, nothing in it that runs but its own two scripts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from thalweg.draw import escape
from thalweg.report.charts import Chart, run_charts
from thalweg.report.figures import added_charts
from thalweg.report.headline import headline, moment, notices
from thalweg.report.run_files import RunFiles
from thalweg.report.sections import Section, text_sections

__all__ = ["page"]


@cache
def _asset(package: str, *path: str) -> str:
    """Return a text file that is installed with *package*."""
    return resources.files(package).joinpath(*path).read_text(encoding="utf-8")


def _script_hash(text: str) -> str:
    """Return the hash by which a content security policy lets exactly this inline script run (CSP Level 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _policy(scripts: Iterable[str]) -> str:
    """Return the content security policy: our scripts, inline styles and pictures made in the page; no network.

    ``unsafe-eval`` lets plotly compile its WebGL drawing (parallel coordinates, large scatter plots); it lets no text
    of the page run that is not one of the two scripts.
    """
    allowed = " ".join(map(_script_hash, scripts))
    return (
        f"default-src 'none'; script-src 'unsafe-eval' {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )


def _data(figure: dict[str, Any]) -> str:
    """Return a figure as JSON that can stand inside a script element: nothing in it can close the element."""
    text = json.dumps(figure, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _chart(chart: Chart) -> str:
    """Return one chart: heading, sentence, the place it is drawn in, notes, and its data."""
    key = escape(chart.key)
    switch = (
        f'<button type="button" class="switch" data-for="chart-{key}" aria-pressed="false" '
        f'aria-label="Logarithmic axis for {escape(chart.title)}">log</button>'
        if chart.switch
        else ""
    )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in chart.notes)
    summary = f'<p class="summary" id="about-{key}">{escape(chart.summary)}</p>' if chart.summary else ""
    about = f' aria-describedby="about-{key}"' if chart.summary else ""
    height = chart.figure.get("layout", {}).get("height")
    tall = f' style="height:{height:.0f}px;flex-basis:{height:.0f}px"' if isinstance(height, (int, float)) else ""
    return (
        f'<figure class="card{" wide" if chart.wide else ""}" id="{key}">'
        f'<figcaption><div class="top"><h3>{escape(chart.title)}</h3>{switch}</div>{summary}</figcaption>'
        f'<div class="chart" id="chart-{key}" role="group" aria-label="Chart: {escape(chart.title)}"{about}{tall} '
        f'data-linked="{"yes" if chart.linked else "no"}"></div>{notes}'
        f'<script type="application/json" id="data-chart-{key}">{_data(chart.figure)}</script></figure>'
    )


def _section(section: Section) -> str:
    key = escape(section.key)
    return (
        f'<section class="card" id="{key}" aria-labelledby="title-{key}">'
        f'<h2 id="title-{key}">{escape(section.title)}</h2>{section.html}</section>'
    )


def _charts(key: str, title: str, charts: list[Chart]) -> str:
    if not charts:
        return ""
    return (
        f'<section id="{key}" aria-labelledby="title-{key}"><h2 id="title-{key}">{title}</h2>'
        f'<div class="grid">{"".join(map(_chart, charts))}</div></section>'
    )


def _origin(run: RunFiles) -> str:
    """Return one line on when, where and with what the run was made."""
    known = run.environment
    parts = [moment(str(known["date"]))] if known.get("date") else []
    parts += [str(known["device"])] if known.get("device") else []
    parts += [f"{name} {known[name]}" for name in ("thalweg", "torch") if known.get(name)]
    return " · ".join(map(escape, parts))


def page(run: RunFiles) -> str:
    """Return the report as one HTML document; the same run gives the same text."""
    plotly = _asset("plotly", "package_data", "plotly.min.js")
    script = _asset("thalweg.report", "page.js")
    charts, added, sections = run_charts(run), added_charts(run.figures), text_sections(run)
    links = [("curves", "Curves")] if charts else []
    links += [("figures", "Figures")] if added else []
    links += [(section.key, section.title) for section in sections]
    menu = "".join(f'<a href="#{escape(key)}">{escape(title)}</a>' for key, title in links)
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in notices(run))
    warning = f'<div class="notice" role="note">{told}</div>' if told else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_policy((plotly, script)))}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(run.name)} · Thalweg</title><style>{_asset('thalweg.report', 'page.css')}</style></head>"
        f"<body><header><h1>{escape(run.name)}</h1><p>{_origin(run)}</p>{warning}{headline(run)}"
        f'<nav aria-label="Sections">{menu}</nav></header><main>'
        "<noscript><p>The charts need JavaScript; tables and text do not.</p></noscript>"
        f"{_charts('curves', 'Curves', charts)}{_charts('figures', 'Figures', added)}"
        f"{''.join(map(_section, sections))}</main>"
        "<footer><p>One file, readable offline. Drag in a chart to zoom, or use the buttons above it; "
        "double-click goes back. Charts over steps zoom together. Drawn with plotly.js (MIT licence).</p></footer>"
        f"<script>{plotly}</script><script>{script}</script></body></html>\n"
    )

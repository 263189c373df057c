"""The report's own charts: loss, rate and momentum, gradient norm, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.draw.loss_curve import spans_decades
from thalweg.draw.rates import TITLES, by_quantity
from thalweg.draw.style import DASHES, SERIES
from thalweg.report.run_files import RunFiles
from thalweg.report.traces import bad_marks, line, numbers, plain, thinning_note

__all__ = ["Chart", "run_charts"]

Array = NDArray[np.float64]
_NOT_RATES = {"step", "epoch", "loss", "smoothed", "grad_norm", "weight"}
_NOT_METRICS = {"epoch", "step", "loss", "val_loss", "seconds"}
_DASHES = ("solid", "dash", "dot")
_NAMED = 8
_EVENTS = 200


@dataclass(frozen=True)
class Chart:
    """One chart of the page.

    Attributes:
        key: its place in the page's links; lower-case letters, digits and hyphens.
        title: what is drawn.
        summary: a sentence with its main numbers; the caption, and what a screen reader says.
        figure: the plotly figure; colours are the page's variables.
        notes: what was thinned or is not finite.
        wide: whether it fills the page's width.
        switch: whether the reader can switch its y-axis between linear and logarithmic.
        linked: whether it is drawn over steps and zooms together with the others that are.
    """

    key: str
    title: str
    summary: str
    figure: dict[str, Any]
    notes: tuple[str, ...] = ()
    wide: bool = False
    switch: bool = False
    linked: bool = False


def run_charts(run: RunFiles) -> list[Chart]:
    """Return the charts for whatever was recorded, the loss first."""
    charts = [_loss(run), *_rates(run), _norm(run), *_metrics(run)]
    return [chart for chart in charts if chart is not None]


def _colour(index: int) -> tuple[str, str]:
    """Return the page's colour variable and the dash of the *index*-th curve."""
    return f"--series-{index % len(SERIES) + 1}", _DASHES[index // len(SERIES) % len(DASHES)]


def _step_axis(run: RunFiles) -> dict[str, Any]:
    """Return the axis that all charts over steps share, a little longer than the run."""
    step = run.history.values["step"]
    low, high = float(step.min()), float(step.max())
    if "step" in run.epochs.values and len(run.epochs):
        high = max(high, float(np.nanmax(run.epochs.values["step"], initial=high)))
    room = 0.015 * (high - low) or 1.0
    return {
        "title": {"text": "step"},
        "range": [low - room, high + room],
        "hoverformat": ",d",
        "unifiedhovertitle": {"text": "step %{x:,d}"},
    }


def _around(values: Array) -> dict[str, Any]:
    """Return an axis a tenth around a constant, where plotly would take one unit; else leave the choice to it."""
    low, high = float(values.min()), float(values.max())
    room = 0.1 * abs(low) or 1.0
    return {"range": [low - room, high + room]} if low == high else {}


def _overlay() -> dict[str, Any]:
    """Return the axis that marks at the top and the bottom of a chart are placed on."""
    return {"overlaying": "y", "range": [0, 1], "fixedrange": True, "visible": False}


def _span(values: Array) -> str:
    """Return first, last and lowest finite value in words."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "no finite value"
    if finite.size == 1:
        return f"{finite[0]:.4g}"
    return f"first {finite[0]:.4g}, last {finite[-1]:.4g}, lowest {finite.min():.4g}"


def _loss(run: RunFiles) -> Chart | None:
    history = run.history
    if not (len(history) and "loss" in history.values):
        return None
    step, loss = history.along("step", "loss")
    if not step.size:
        return None
    smooth = history.has("smoothed")
    data = [
        line(
            "raw" if smooth else "loss",
            step,
            loss,
            "--series-1",
            width=1.0 if smooth else 1.6,
            opacity=0.45 if smooth else 1.0,
        )
    ]
    if smooth:
        data.append(line("smoothed", *history.along("step", "smoothed"), "--series-1", width=2.4))
    words = f"{step.size:,} update{'s' if step.size != 1 else ''}: {_span(loss)}."
    notes = [thinning_note(step.size)]
    judged = [loss]
    if run.epochs.has("val_loss") and "step" in run.epochs.values:
        valid_step, valid = run.epochs.along("step", "val_loss")
        data.append(line("validation", valid_step, valid, "--series-2", width=1.6, points=valid.size <= 200))
        words += f" Validation: {_span(valid)}."
        judged.append(valid)
        _add_marks(data, notes, "the validation loss", valid_step, valid)
    _add_marks(data, notes, "the loss", step, loss)
    _add_events(data, run)
    log = spans_decades(np.concatenate(judged))
    return Chart(
        key="loss",
        title="Loss",
        summary=words,
        figure={
            "data": data,
            "layout": {
                "xaxis": _step_axis(run),
                "yaxis": {"type": "log" if log else "linear"},
                "yaxis9": _overlay(),
                "hovermode": "x unified",
            },
        },
        notes=tuple(note for note in notes if note),
        wide=True,
        switch=True,
        linked=True,
    )


def _add_marks(
    data: list[dict[str, Any]], notes: list[str], what: str, x: Array, y: Array, along: str = "step"
) -> None:
    marks, note = bad_marks(what, x, y, along)
    if marks is not None:
        data.append(marks)
        notes.append(note)


def _add_events(data: list[dict[str, Any]], run: RunFiles) -> None:
    """Mark events at the top edge; more than 200 would hide the curve and stand in their table only."""
    placed = [event for event in run.events if event.step is not None]
    if not placed or len(placed) > _EVENTS:
        return
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"events ({len(placed)})",
            "x": [event.step for event in placed],
            "y": [0.985] * len(placed),
            "yaxis": "y9",
            "text": [plain(f"{event.kind}: {event.text}"[:120]) for event in placed],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"symbol": "triangle-down", "size": 10, "color": "--series-6"},
        }
    )


def _rates(run: RunFiles) -> list[Chart]:
    """Return one chart per scheduled quantity, a line per group whose values differ."""
    history = run.history
    columns = {name: values for name, values in history.values.items() if name not in _NOT_RATES and history.has(name)}
    charts = []
    for quantity, curves in by_quantity(columns).items():
        data = []
        for index, (group, values) in enumerate(curves.items()):
            kept = ~np.isnan(values)
            colour, dash = _colour(index)
            data.append(
                line(
                    group or TITLES.get(quantity, quantity),
                    history.values["step"][kept],
                    values[kept],
                    colour,
                    dash=dash,
                    hover="%{y:.4~g}",
                    showlegend=len(curves) > 1 and index < _NAMED,
                )
            )
        first = next(iter(curves.values()))
        finite = np.concatenate([values[np.isfinite(values)] for values in curves.values()])
        if not finite.size:
            continue
        words = f"{_span(first[~np.isnan(first)]).capitalize()}, highest {finite.max():.4g}."
        if len(curves) > 1:
            words = f"{len(curves)} groups, from {finite.min():.4g} to {finite.max():.4g}."
        hidden = len(curves) - _NAMED
        title = TITLES.get(quantity, quantity)
        charts.append(
            Chart(
                key="rate-" + "".join(c if c.isalnum() and c.isascii() else "-" for c in quantity.lower()),
                title=title[0].upper() + title[1:],
                summary=words,
                figure={
                    "data": data,
                    "layout": {"xaxis": _step_axis(run), "yaxis": _around(finite), "hovermode": "x unified"},
                },
                notes=tuple(
                    note
                    for note in (
                        thinning_note(len(history)),
                        f"{hidden} more groups are drawn and named when hovered." if hidden > 0 else "",
                    )
                    if note
                ),
                switch=True,
                linked=True,
            )
        )
    return charts


def _norm(run: RunFiles) -> Chart | None:
    history = run.history
    if "grad_norm" not in history.values or not history.has("grad_norm"):
        return None
    step, norm = history.along("step", "grad_norm")
    data = [line("gradient norm", step, norm, "--series-3", width=1.1, showlegend=False)]
    notes = [thinning_note(step.size)]
    _add_marks(data, notes, "the gradient norm", step, norm)
    highest = norm[np.isfinite(norm)]
    return Chart(
        key="gradient-norm",
        title="Gradient norm",
        summary=f"{_span(norm).capitalize()}, highest {highest.max():.4g}." if highest.size else "No finite value.",
        figure={
            "data": data,
            "layout": {
                "xaxis": _step_axis(run),
                "yaxis": {"type": "log" if spans_decades(norm) else "linear"},
                "yaxis9": _overlay(),
                "hovermode": "x unified",
            },
        },
        notes=tuple(note for note in notes if note),
        switch=True,
        linked=True,
    )


def _metrics(run: RunFiles) -> list[Chart]:
    """Return one chart per metric over the epochs, training and validation together."""
    epochs = run.epochs
    groups: dict[str, list[str]] = {}
    for name in epochs.values:
        if name not in _NOT_METRICS and epochs.has(name):
            groups.setdefault(name.removeprefix("val_"), []).append(name)
    if not len(run.history):
        # A run whose updates were not recorded still shows its losses, epoch by epoch.
        groups = {"loss": [name for name in ("loss", "val_loss") if epochs.has(name)], **groups}
    charts = []
    for place, (metric, names) in enumerate((metric, names) for metric, names in groups.items() if names):
        data: list[dict[str, Any]] = []
        notes: list[str] = []
        words = []
        for name in names:
            epoch, values = epochs.along("epoch", name)
            held = name.startswith("val_")
            label = "validation" if held else "training"
            data.append(line(label, epoch, values, "--series-2" if held else "--series-1", points=epoch.size <= 60))
            _add_marks(data, notes, f"{metric} ({label})", epoch, values, "epoch")
            finite = values[np.isfinite(values)]
            if finite.size:
                words.append(f"{label}: last {finite[-1]:.4g}, lowest {finite.min():.4g}, highest {finite.max():.4g}")
        title = metric.replace("_", " ")
        last = epochs.values["epoch"]
        charts.append(
            Chart(
                key=f"metric-{place + 1}",
                title=title[0].upper() + title[1:],
                summary=("; ".join(words) or "no finite value").capitalize() + ".",
                figure={
                    "data": data,
                    "layout": {
                        "xaxis": {
                            "title": {"text": "epoch"},
                            "hoverformat": ",d",
                            "unifiedhovertitle": {"text": "epoch %{x:,d}"},
                            **({"tickvals": numbers(last)} if last.size <= 10 else {}),
                        },
                        "yaxis9": _overlay(),
                        "hovermode": "x unified",
                        "showlegend": True,
                    },
                },
                notes=tuple(notes),
                switch=True,
            )
        )
    return charts

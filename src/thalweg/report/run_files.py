"""What a run directory holds, and reading it.

==================  ==============================================================================================
``history.csv``     per update: ``step,epoch,loss,smoothed,grad_norm,lr,momentum`` and, where groups differ,
                    ``lr/<group>``, ``momentum/<group>``; an empty cell was not recorded, ``nan`` and ``inf`` are values
``epochs.csv``      per epoch: ``epoch,step,loss,val_loss,val_<metric>…,seconds``
``events.csv``      ``step,kind,text``: changes of the rate, notices, interruptions
``plan.json``       what was planned: updates, engine, memory, rates, and a row for each parameter
``summary.json``    the closing numbers, in the order in which they are to be read
``environment.json``  versions, platform, device, date
``recipe.toml``     the complete recipe
``figures/*.json``  further plotly figures; see :func:`read_figures`
==================  ==============================================================================================

Each file may be missing; the report then has no such section.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.report.csv_columns import Columns, read_columns

__all__ = ["Event", "RunFiles", "read_figures", "read_run"]

_KNOWN = ("history.csv", "epochs.csv", "events.csv", "plan.json", "summary.json", "environment.json", "recipe.toml")


@dataclass(frozen=True)
class Event:
    """Something that happened at an update: what kind of thing, and a sentence about it."""

    step: int | None
    kind: str
    text: str


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run directory; what is not there is empty."""

    name: str
    history: Columns
    epochs: Columns
    events: tuple[Event, ...]
    plan: dict[str, Any]
    summary: dict[str, Any]
    environment: dict[str, Any]
    recipe: str
    figures: dict[str, dict[str, Any]]


def read_run(run_dir: Path | str) -> RunFiles:
    """Read the files of a run directory.

    Raises:
        ValueError: it is no directory, holds none of a run's files, or one of them is damaged.
    """
    place = Path(run_dir)
    if not place.is_dir():
        what = "is a file" if place.exists() else "is not there"
        raise ValueError(f"report: the run directory {place} {what}; pass the directory that `thalweg run` wrote.")
    figures = read_figures(place)
    if not figures and not any((place / name).is_file() for name in _KNOWN):
        raise ValueError(
            f"report: {place} holds none of a run's files ({', '.join(_KNOWN)}); pass the directory that "
            "`thalweg run` wrote."
        )
    return RunFiles(
        name=place.resolve().name,
        history=_columns(place / "history.csv", "step"),
        epochs=_columns(place / "epochs.csv", "epoch"),
        events=_events(place / "events.csv"),
        plan=_json(place / "plan.json"),
        summary=_json(place / "summary.json"),
        environment=_json(place / "environment.json"),
        recipe=_text(place / "recipe.toml"),
        figures=figures,
    )


def read_figures(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the run's further figures by name: every ``figures/NAME.json``, in alphabetical order.

    This is where other parts of Thalweg add sections to a report. Such a file is one plotly figure as JSON,
    ``{"data": […], "layout": {…}}``. The section's heading is ``layout.title``, or the file's name; a sentence about it
    may stand in ``layout.meta.summary``, which is also what a screen reader says. A colour may be written as one of
    the page's variables (``"--series-1"`` … ``"--series-6"``, ``"--ink"``, ``"--muted"``, ``"--line"``), which follow
    the light and the dark theme. Size, background, fonts and grid are the page's.

    Raises:
        ValueError: a file is no plotly figure.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((run_dir / "figures").glob("*.json")):
        figure = _json(path)
        if not isinstance(figure.get("data"), list) or not isinstance(figure.get("layout", {}), dict):
            raise ValueError(
                f"report: figures/{path.name} is no plotly figure: it needs a list 'data' and a mapping 'layout'; "
                "write it with plotly's Figure.to_json."
            )
        found[path.stem] = figure
    return found


def _columns(path: Path, key: str) -> Columns:
    if not path.is_file():
        return Columns()
    try:
        columns = read_columns(path)
    except ValueError as error:
        raise ValueError(f"report: {error}") from error
    if len(columns) and key not in columns.values:
        raise ValueError(
            f"report: {path.name} has no column {key!r} among {', '.join(columns.values)}; the rows cannot be placed."
        )
    if len(columns) and not np.isfinite(columns.values[key]).all():
        row = int((~np.isfinite(columns.values[key])).argmax())
        raise ValueError(f"report: {path.name} has no {key} in line {row + 2}; each row belongs to one, so write it.")
    return columns


def _events(path: Path) -> tuple[Event, ...]:
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, restval=""))
    events = []
    for row in rows:
        step = (row.get("step") or "").strip()
        if step and not step.lstrip("-").isdigit():
            raise ValueError(f"report: events.csv has the step {step!r}; write a whole number or nothing.")
        events.append(Event(int(step) if step else None, row.get("kind") or "", row.get("text") or ""))
    return tuple(events)


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"report: {path.name} is not UTF-8 ({error}); write it as UTF-8.") from error


def _json(path: Path) -> dict[str, Any]:
    text = _text(path)
    if not path.is_file():
        return {}
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"report: {path.name} is no JSON (line {error.lineno}, column {error.colno}: {error.msg}); it may have "
            "been cut off, so restore it or remove it."
        ) from error
    if not isinstance(document, dict):
        raise ValueError(f"report: {path.name} holds a {type(document).__name__}; it must be one JSON object.")
    return document

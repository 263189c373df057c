"""The numbers at the top of the report, and what the reader must know before anything else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from thalweg.draw import cell, escape
from thalweg.report.run_files import RunFiles

__all__ = ["duration", "flatten", "headline", "label", "moment", "notices"]

_MOST = 8
_WORDS = {"val": "validation", "lr": "learning rate", "grad": "gradient", "cpu": "CPU"}


def label(name: str) -> str:
    """Return a key as one would say it.

    >>> label("val_accuracy"), label("best/epoch"), label("total_steps")
    ('validation accuracy', 'best epoch', 'total steps')
    """
    said = name.replace("/", " ").replace("_", " ")
    return " ".join(_WORDS.get(word, word) for word in said.split())


def moment(text: str) -> str:
    """Return an ISO 8601 time to the minute, in its own time zone; any other text as it is.

    >>> moment("2026-01-02T03:04:05+00:00"), moment("last Tuesday")
    ('2026-01-02 03:04 UTC', 'last Tuesday')
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{time:%Y-%m-%d %H:%M} {time.tzname() or ''}".rstrip()


def duration(seconds: float) -> str:
    """Return a time as one would say it.

    >>> duration(0.0421), duration(8.25), duration(83.0), duration(7384.0)
    ('42 ms', '8.2 s', '1 min 23 s', '2 h 3 min')
    """
    if not math.isfinite(seconds):
        return str(seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with ``/`` between the names.

    >>> flatten({"loss": 0.5, "best": {"epoch": 3}})
    {'loss': 0.5, 'best/epoch': 3}
    """
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}/"))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _from_epochs(run: RunFiles) -> dict[str, Any]:
    """Return the closing numbers of a run that wrote no summary."""
    found: dict[str, Any] = {}
    epochs = run.epochs
    for name in epochs.values:
        if name not in ("epoch", "step", "seconds") and epochs.has(name):
            found[name] = float(epochs.values[name][-1])
    if len(epochs):
        found["epochs"] = len(epochs)
    if epochs.has("seconds"):
        found["seconds"] = float(np.nansum(epochs.values["seconds"]))
    if len(run.history):
        found["steps"] = int(run.history.values["step"][-1])
        if "loss" not in found and run.history.has("smoothed"):
            found["smoothed loss"] = float(run.history.values["smoothed"][-1])
    return found


def _note(run: RunFiles, name: str) -> str:
    """Return where the best validation loss was, to stand beneath the last one."""
    if name != "val_loss" or not run.epochs.has("val_loss"):
        return ""
    epoch, values = run.epochs.along("epoch", "val_loss")
    best = int(np.nanargmin(np.where(np.isfinite(values), values, np.inf)))
    return f"lowest {values[best]:.4g} in epoch {epoch[best]:.0f}"


def headline(run: RunFiles) -> str:
    """Return the tiles with the closing numbers: the first eight of ``summary.json``; the rest in a list."""
    shown = {name: value for name, value in flatten(run.summary or _from_epochs(run)).items() if value is not None}
    # What a mapping inside the summary holds stands behind the closing numbers themselves.
    shown = dict(sorted(shown.items(), key=lambda item: "/" in item[0]))
    tiles: list[str] = []
    rest: list[str] = []
    for name, value in shown.items():
        timed = name.rsplit("/", 1)[-1].endswith("seconds") and isinstance(value, (int, float))
        written = duration(float(value)) if timed else cell(value)
        said = label("time" if name == "seconds" else name)
        if len(tiles) < _MOST and len(written) <= 24:
            note = _note(run, name)
            beneath = f'<dd class="note">{escape(note)}</dd>' if note else ""
            tiles.append(f'<div><dt>{escape(said)}</dt><dd class="value">{escape(written)}</dd>{beneath}</div>')
        else:
            rest.append(f"<div><dt>{escape(said)}</dt><dd>{escape(written)}</dd></div>")
    parts = []
    if tiles:
        parts.append(f'<dl class="tiles">{"".join(tiles)}</dl>')
    if rest:
        parts.append(f'<dl class="facts">{"".join(rest)}</dl>')
    return "".join(parts)


def notices(run: RunFiles) -> list[str]:
    """Return sentences on what is wrong with the run or its files."""
    found = []
    loss = run.history.values.get("loss")
    if loss is not None:
        step, recorded = run.history.along("step", "loss")
        bad = np.flatnonzero(~np.isfinite(recorded))
        if bad.size:
            found.append(
                f"The loss is not finite in {bad.size:,} of {recorded.size:,} updates, first at step "
                f"{step[bad[0]]:,.0f} ({recorded[bad[0]]})."
            )
    for name, columns in (("history.csv", run.history), ("epochs.csv", run.epochs)):
        if columns.torn:
            found.append(f"{name} ends inside a row, as when a run is killed; that row is left out.")
    planned = run.plan.get("total_steps")
    if isinstance(planned, int) and 0 < len(run.history) < planned:
        found.append(f"The run stopped after {len(run.history):,} of {planned:,} planned updates.")
    return found

"""What happened: a value per step and a row per epoch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thalweg.draw import history as draw_history
from thalweg.draw import html_table
from thalweg.errors import unknown_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["History", "Smoother"]

Array = NDArray[np.float64]


class Smoother:
    r"""The debiased exponential average, :math:`s_t = \frac{(1-\beta) \sum_i \beta^{t-i} x_i}{1 - \beta^t}`.

    Non-finite values are left out of the average (they stay in the raw series).

    Args:
        beta: :math:`\beta` in [0, 1); 0.98 remembers about fifty steps.

    >>> smoother = Smoother(0.5)
    >>> [round(x, 4) for x in smoother.extend([1.0, 2.0, 4.0])]
    [1.0, 1.6667, 3.0]
    """

    def __init__(self, beta: float = 0.98) -> None:
        self.beta = beta
        self.average = 0.0
        self.weight = 0.0

    def extend(self, values: Iterable[float]) -> list[float]:
        """Take in *values* and return the average after each."""
        beta, average, weight = self.beta, self.average, self.weight
        out: list[float] = []
        for value in values:
            if math.isfinite(value):
                average = beta * average + (1 - beta) * value
                weight = beta * weight + (1 - beta)
            out.append(average / weight if weight else math.nan)
        self.average, self.weight = average, weight
        return out


class History:
    """The record of a training: arrays per step, rows per epoch, events. Steps and epochs count from 1.

    Attributes:
        epochs: one dict per epoch: ``epoch, step, loss, val_loss, val_<metric>, …, seconds``.
        events: (step, kind, text): changes of rate by a controller, notices, interruptions.

    ``history.history`` is Keras' dictionary of epoch lists; ``history["loss"]`` is the array per step.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.events: list[tuple[int, str, str]] = []
        self.smoother = Smoother()
        self._chunks: dict[str, list[Array]] = {}
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        last = ", ".join(f"{key}={value:.4g}" for key, value in (self.epochs[-1] if self.epochs else {}).items())
        return f"History({self._rows} steps, {len(self.epochs)} epochs{'; last: ' + last if last else ''})"

    @property
    def columns(self) -> list[str]:
        """The names of the per-step columns."""
        return list(self._chunks)

    def __getitem__(self, name: str) -> Array:
        if name not in self._chunks:
            raise unknown_name("History", "column", name, self._chunks)
        chunks = self._chunks[name]
        if len(chunks) > 1:
            self._chunks[name] = chunks = [np.concatenate(chunks)]
        return chunks[0] if chunks else np.empty(0)

    @property
    def smoothed(self) -> Array:
        """The debiased exponential average (β = 0.98) of the step losses."""
        return self["smoothed"]

    @property
    def steps(self) -> dict[str, Array]:
        """All per-step columns."""
        return {name: self[name] for name in self._chunks}

    @property
    def history(self) -> dict[str, list[float]]:
        """Keras' form: column → one value per epoch."""
        columns: dict[str, list[float]] = {}
        for row in self.epochs:
            for name in row:
                columns.setdefault(name, [])
        for name, values in columns.items():
            values.extend(row.get(name, math.nan) for row in self.epochs)
        return columns

    def extend(self, columns: dict[str, Array]) -> dict[str, Array]:
        """Append rows (equal lengths), with the smoothed loss beside the raw one; return what was appended."""
        block = dict(columns)
        block["smoothed"] = np.asarray(self.smoother.extend(columns["loss"].tolist()))
        count = len(block["loss"])
        for name in block:
            if name not in self._chunks:
                self._chunks[name] = [np.full(self._rows, math.nan)] if self._rows else []
        for name, chunks in self._chunks.items():
            chunks.append(np.asarray(block.get(name, np.full(count, math.nan)), dtype=np.float64))
        self._rows += count
        return block

    def event(self, step: int, kind: str, text: str) -> None:
        """Note something that happened at *step*."""
        self.events.append((step, kind, text))

    def to_csv(self) -> str:
        """Return the per-step columns as CSV text."""
        return csv_text(self.steps)

    def plot(self) -> Figure:
        """Return a figure of loss (raw and smoothed), rate, momentum and gradient norm."""
        return draw_history(self.steps, self.history)

    def _repr_html_(self) -> str:
        names = list(self.history)
        return html_table([[row.get(name) for name in names] for row in self.epochs], names)

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return (arrays, plain data) from which :meth:`load` makes the same history."""
        plain = {
            "epochs": self.epochs,
            "events": [list(event) for event in self.events],
            "smoother": [self.smoother.beta, self.smoother.average, self.smoother.weight],
            "columns": self.columns,
        }
        return self.steps, plain

    @classmethod
    def load(cls, arrays: dict[str, Array], plain: dict[str, Any]) -> History:
        """Return the history that :meth:`state` described."""
        history = cls()
        history.epochs = [dict(row) for row in plain["epochs"]]
        history.events = [(int(step), str(kind), str(text)) for step, kind, text in plain["events"]]
        beta, average, weight = plain["smoother"]
        history.smoother = Smoother(beta)
        history.smoother.average, history.smoother.weight = average, weight
        history._chunks = {name: [np.array(arrays[name], dtype=np.float64)] for name in plain["columns"]}
        history._rows = len(arrays["loss"]) if "loss" in arrays else 0
        return history


def csv_text(columns: dict[str, Array], *, header: bool = True) -> str:
    """Return columns as CSV text; whole numbers without a point, NaN and infinities spelled out."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(columns)
    whole = {"step", "epoch"}
    lists = [
        [int(v) for v in values.tolist()] if name in whole else [_cell(name, v) for v in values.tolist()]
        for name, values in columns.items()
    ]
    writer.writerows(zip(*lists, strict=True))
    return out.getvalue()


def _cell(name: str, value: float) -> str:
    """Return a value's text: an empty cell where a rate was not there to record; a NaN that was measured is spelled."""
    if math.isnan(value) and name.startswith(("lr", "momentum")):
        return ""
    return f"{value:.9g}"

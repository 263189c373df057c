"""What a race says: leaderboard, curves, sensitivity, members, the winner."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from ..checkpoint import write_text, write_whole
from ..draw import Table, html_table, table_figure
from ..optim import to_dict as rule_to_dict
from ..schedule import to_dict as schedule_to_dict
from .candidate import Candidate, rule_name
from .ensemble import Ensemble, filled
from .entry import Entry
from .figures import Curve, curves_figure, plot, sensitivity_figure
from .leaderboard import Standing, standings
from .not_tried import not_tried
from .runner import Member

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RaceResult"]

_SHOWN = 20  # in a terminal
_BOARD = 60  # in the report
_DRAWN = 6
_POINTS = 400


@dataclass(frozen=True)
class RaceResult:
    """The outcome of a race.

    Attributes:
        members: every candidate, in the order given, with its curves (``losses``, ``validations``) and how it ended.
        by: what they were ranked by: ``"valid"`` (the loss over the validation data) or ``"train"`` (the smoothed
            training loss).
        steps: updates of a whole training.
        seconds: that the race took.
        notes: how it was computed, in words: who was stacked, who ran alone and why.
        stopped: why it ended early, or an empty string.
        weights: member → (parameters, buffers), of those who did not diverge.
    """

    members: Sequence[Member]
    by: str
    steps: int
    seconds: float
    notes: Sequence[str]
    stopped: str
    entry: Entry
    weights: dict[int, Any]

    @cached_property
    def leaderboard(self) -> list[Standing]:
        """Settings from the best to the worst; see :class:`Standing`."""
        return standings(self.members, self.by)

    @property
    def best(self) -> Standing:
        """The best setting."""
        return self.leaderboard[0]

    @property
    def winner(self) -> Candidate:
        """The first member of the best setting."""
        return self.best.candidate

    @cached_property
    def not_tried(self) -> list[str]:
        """What this race does not speak about, in sentences."""
        return not_tried(
            self.leaderboard, [member.candidate for member in self.members], self.entry.source.batch_size, self.steps
        )

    @cached_property
    def _varying(self) -> set[str]:
        """Names of the settings that differ between candidates of one rule, the rate always among them."""
        seen: dict[tuple[str, str], set[str]] = {}
        for standing in self.leaderboard:
            found = standing.candidate.settings()
            for name in {*found, "schedule", "clip_norm", "clip_value", "label_smoothing"}:
                seen.setdefault((found["optimizer"], name), set()).add(repr(found.get(name)))
        return {"lr", *(name for (_, name), values in seen.items() if len(values) > 1)} - {"seed", "order"}

    def label(self, standing: Standing) -> str:
        """Return a setting in words: its rule, its rate, and what else differs between the candidates."""
        found = standing.candidate.settings()
        words = [
            f"{name}={found[name]:g}" if isinstance(found[name], (int, float)) else f"{name}={found[name]}"
            for name in found
            if name in self._varying
        ]
        return " ".join([found["optimizer"], *words])

    @property
    def loss_name(self) -> str:
        """What the losses are called."""
        return "validation loss" if self.by == "valid" else "smoothed training loss"

    # ------------------------------------------------------------------------------------------------------- members

    def module(self, number: int | None = None) -> nn.Module:
        """Return a member as an ordinary module in evaluation mode, a copy; None takes the winner.

        Raises:
            ValueError: it diverged, or there is no such member.
        """
        number = self.best.numbers[0] if number is None else number
        if number not in self.weights:
            known = f"0 to {len(self.members) - 1}"
            why = "diverged" if 0 <= number < len(self.members) else f"is none of the members {known}"
            raise ValueError(f"race: member {number} {why}, so that there is no model of it; choose another one.")
        return filled(self.entry.module, self.weights[number])

    def ensemble(self, top: int = 3) -> Ensemble:
        """Return a model that predicts with the mean of the *top* best members, all seeds counted.

        Raises:
            ValueError: fewer members than that have come to the end.
        """
        order = [number for standing in self.leaderboard for number in standing.numbers if number in self.weights]
        order.sort(key=lambda number: (-self.members[number].step, self.members[number].score(self.by)))
        if isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= len(order):
            raise ValueError(
                f"race: ensemble(top={top!r}) needs a whole number from 1 to {len(order)}, the members that did not "
                "diverge."
            )
        return Ensemble([self.module(number) for number in order[:top]], self.entry.valid_loss)

    # -------------------------------------------------------------------------------------------------------- answers

    def sensitivity(self) -> list[Curve]:
        """Return, per rule, (name, rates, final losses, spreads): at each rate the best of the other settings.

        Only settings that went as far as the best are compared; a rate at which all diverged is NaN.
        """
        curves: list[Curve] = []
        for name in dict.fromkeys(rule_name(member.candidate.rule) for member in self.members):
            found: dict[float, tuple[float, float]] = {}
            for standing in self.leaderboard:
                lr = standing.candidate.rule.lr
                if rule_name(standing.candidate.rule) != name or lr is None:
                    continue
                value = (standing.mean, standing.spread) if not standing.diverged else (math.nan, math.nan)
                old = found.get(float(lr), (math.nan, math.nan))
                if standing.verdict != "left" and (not math.isfinite(old[0]) or value[0] < old[0]):
                    found[float(lr)] = value
            rates = sorted(found)
            if rates:
                values = np.array([found[rate] for rate in rates])
                curves.append((name, np.array(rates), values[:, 0], values[:, 1]))
        return curves

    def curves(self, top: int = _DRAWN) -> list[Curve]:
        """Return (name, updates, losses, None) of the *top* best settings, the mean over seeds."""
        found: list[Curve] = []
        for standing in self.leaderboard[:top]:
            group = [self.members[number] for number in standing.numbers]
            if self.by == "valid":
                steps = [step for step, _ in group[0].validations]
                runs = [[loss for _, loss in member.validations][: len(steps)] for member in group]
                runs = [run for run in runs if len(run) == len(steps)]
                y = np.array(runs).mean(axis=0) if runs else np.empty(0)
                found.append((self.label(standing), np.array(steps, dtype=np.float64), y, None))
            else:
                length = min(member.curve.size for member in group)
                y = np.array([member.curve[:length] for member in group]).mean(axis=0)
                thin = np.unique(np.linspace(0, max(0, length - 1), min(length, _POINTS)).astype(int))
                found.append((self.label(standing), thin + 1.0, y[thin], None))
        return found

    def plot(self) -> Figure:
        """Return a figure: the final loss against the rate per rule, and the curves of the leading settings."""
        labels = {"sensitivity": self.loss_name, "curves": self.loss_name}
        return plot(self.sensitivity(), self.curves(), labels)

    def sections(self) -> dict[str, Any]:
        """Return the winner as sections of a recipe: ``optimizer``, ``schedule``, ``loss`` (smoothing), ``train``.

        ``train.seed`` is the seed of the setting's first member; where all shared their batches, that is also the seed
        of the batches only for the member whose seed is the race's own.
        """
        candidate = self.winner
        setting = candidate.setting
        found: dict[str, Any] = {"optimizer": _plain(rule_to_dict(setting.rule)), "train": {}}
        if setting.schedules:
            plain = {name: schedule_to_dict(one) for name, one in setting.schedules}
            found["schedule"] = plain["lr"] if list(plain) == ["lr"] else plain
        for name in ("clip_norm", "clip_value"):
            if getattr(setting, name) is not None:
                found["train"][name] = getattr(setting, name)
        if setting.label_smoothing is not None:
            found["loss"] = {"label_smoothing": setting.label_smoothing}
        if candidate.seed is not None:
            found["train"]["seed"] = candidate.seed
        return found

    # --------------------------------------------------------------------------------------------------------- tables

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row per member: its settings, losses, how it ended, the place of its setting."""
        places = {number: standing.place for standing in self.leaderboard for number in standing.numbers}
        found = []
        for member in self.members:
            valid = member.validations[-1][1] if member.validations else math.nan
            found.append(
                {
                    "member": member.number,
                    "place": places[member.number],
                    "ended": member.ended,
                    "steps": member.step,
                    "valid_loss": valid,
                    "train_loss": member.smoothed,
                    **{name: _cell(value) for name, value in member.candidate.settings().items()},
                }
            )
        return found

    def to_csv(self, path: Path | str) -> Path:
        """Write :meth:`rows` as CSV and return the path."""
        rows = self.rows()
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(Path(path), text.getvalue())
        return Path(path)

    def to_parquet(self, path: Path | str) -> Path:
        """Write :meth:`rows` as Parquet (needs pyarrow, in the extra ``data``) and return the path."""
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ImportError("race: Parquet needs pyarrow; install thalweg[data], or write CSV: to_csv().") from error
        rows = self.rows()
        columns = list(dict.fromkeys(name for row in rows for name in row))
        table = pyarrow.table({name: _typed([row.get(name) for row in rows]) for name in columns})
        write_whole(Path(path), lambda temporary: pyarrow.parquet.write_table(table, temporary))
        return Path(path)

    def table(self, top: int = _SHOWN) -> Table:
        """Return the leaderboard's first lines as a table for people."""
        heads = ["place", "setting", "mean", "± spread", "seeds", "updates", "verdict"]
        return Table([_line(s, self.label(s)) for s in self.leaderboard[:top]], heads, self.loss_name)

    def facts(self) -> list[str]:
        """Return how it was computed and what was not tried, as sentences."""
        ended = [member.ended for member in self.members]
        counts = ", ".join(f"{ended.count(how)} {how}" for how in dict.fromkeys(ended))
        first = f"{len(self.members)} trainings of up to {self.steps:,} updates in {self.seconds:.1f} s: {counts}."
        stopped = [f"Ended early: {self.stopped}."] if self.stopped else []
        how = [f"{note[:1].upper()}{note[1:]}." for note in self.notes]
        return [first, *stopped, *how, *(f"Not tried: {text}" for text in self.not_tried)]

    def __str__(self) -> str:
        more = len(self.leaderboard) - _SHOWN
        rest = [f"… and {more} more"] if more > 0 else []
        return "\n".join([str(self.table()), *rest, "", *self.facts()])

    def __repr__(self) -> str:
        return f"RaceResult({len(self.members)} members, best: {self.label(self.best)}, {self.best.mean:.4g})"

    def _repr_html_(self) -> str:
        table = self.table()
        facts = html_table([[text] for text in self.facts()], ["about this race"])
        return html_table(table.rows, table.columns, caption=table.caption) + facts

    def write(self, run: Path | str) -> Path:
        """Write ``race.csv``, ``race.json`` and the report's figures into a run directory, and return it."""
        folder = Path(run)
        figures = folder / "figures"
        figures.mkdir(parents=True, exist_ok=True)
        self.to_csv(folder / "race.csv")
        document = {
            "by": self.by,
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "facts": self.facts(),
            "leaderboard": [
                {
                    "place": s.place,
                    "setting": self.label(s),
                    "mean": _json(s.mean),
                    "spread": _json(s.spread),
                    "seeds": s.seeds,
                    "updates": s.step,
                    "verdict": s.verdict,
                    "p": s.p,
                }
                for s in self.leaderboard
            ],
        }
        write_text(folder / "race.json", json.dumps(document, indent=1) + "\n")
        summary = " ".join(self.facts())
        board = table_figure(self.table(_BOARD), f"Leaderboard: {self.loss_name}", summary)
        write_text(figures / "race-board.json", json.dumps(board, ensure_ascii=False) + "\n")
        sensitivity = sensitivity_figure(self.sensitivity(), self.loss_name)
        write_text(figures / "race-sensitivity.json", json.dumps(sensitivity) + "\n")
        write_text(figures / "race-curves.json", json.dumps(curves_figure(self.curves(), self.loss_name)) + "\n")
        return folder


def _line(standing: Standing, label: str) -> list[Any]:
    verdict = standing.verdict if standing.p is None else f"{standing.verdict} (p = {standing.p:.2g})"
    if standing.diverged and "diverged" not in verdict:
        verdict += f", {standing.diverged} of {standing.seeds} diverged"
    spread = None if math.isnan(standing.spread) else float(f"{standing.spread:.2g}")
    mean = None if math.isnan(standing.mean) else float(f"{standing.mean:.5g}")
    return [standing.place, label, mean, spread, standing.seeds, standing.step, verdict]


def _plain(value: Any) -> Any:
    """Return nested plain data without what is None, which TOML has no word for."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _cell(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else repr(value)


def _typed(values: list[Any]) -> list[Any]:
    """Return a column of one type: texts where numbers and texts meet."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and float in kinds:
        return [None if value is None else float(value) for value in values]
    return values if len(kinds) <= 1 else [None if value is None else str(value) for value in values]


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""The end of a run: the test, the summary, figures, the report."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from thalweg import draw, report
from thalweg.checkpoint import write_text, write_whole
from thalweg.learner import Learner
from thalweg.loop import History

from .parts import Parts
from .recipe import Recipe
from .summary import RunSummary

__all__ = ["close", "write_figures"]


def close(
    recipe: Recipe, learner: Learner, data: Parts, directory: Path, seconds: float, resumed_at: int | None = None
) -> RunSummary:
    """Test the model, write summary, figures and report into the run directory, and return the summary.

    Args:
        recipe: that was run.
        learner: trained.
        data: with the test part.
        directory: of the run.
        seconds: that it took.
        resumed_at: the step at which it was gone on with.
    """
    history = learner.history
    test = {} if data.test is None else learner.evaluate(data.test, batch_size=2 * recipe.train.batch_size)
    last = history.epochs[-1] if history.epochs else {}
    validated = [row for row in history.epochs if "val_loss" in row]
    best = min(validated, key=lambda row: row["val_loss"]) if validated else {}
    stopped = [text for _, kind, text in history.events if kind == "stopped"]
    summary = RunSummary(
        recipe=recipe.name,
        run=str(directory),
        test=test,
        valid={name.removeprefix("val_"): value for name, value in last.items() if name.startswith("val_")},
        best={name: value for name, value in best.items() if name == "epoch" or name.startswith("val_")},
        loss=last.get("loss", float("nan")),
        epochs=len(history.epochs),
        steps=int(last.get("step", 0)),
        seconds=round(seconds, 3),
        parameters=sum(param.numel() for param in learner.module.parameters()),
        stopped=stopped[-1] if stopped and len(history.epochs) < recipe.train.epochs else "",
        resumed_at=resumed_at,
        published=recipe.published,
    )
    write_text(directory / "summary.json", json.dumps(summary.to_dict(), indent=2) + "\n")
    write_figures(history, directory / "figures")
    if data.describe is not None:
        data.describe(learner.module, directory)
    report.build(directory)
    return summary


def write_figures(history: History, folder: Path) -> None:
    """Write ``loss.png`` and ``rates.png`` into *folder*."""
    columns = history.steps
    if not len(history):
        return
    folder.mkdir(exist_ok=True)
    rows = [row for row in history.epochs if "val_loss" in row]
    valid = ([row["step"] for row in rows], [row["val_loss"] for row in rows]) if rows else None
    rates = {name: values for name, values in columns.items() if name.split("/")[0] in ("lr", "momentum")}
    figures = {
        "loss": draw.loss_curve(columns["step"], columns["loss"], columns["smoothed"], valid=valid),
        "rates": draw.rates(columns["step"], rates),
    }
    for name, figure in figures.items():
        write_whole(folder / f"{name}.png", partial(figure.savefig, format="png"))

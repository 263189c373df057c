"""From a recipe to a finished run directory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from thalweg import draw, report
from thalweg.checkpoint import latest, write_text, write_whole
from thalweg.errors import listing
from thalweg.learner import Learner
from thalweg.loop import History, read_checkpoint

from .directory import claim, release
from .load import load
from .names import NAMES, Names
from .opening import opening
from .overrides import parse
from .parts import Parts
from .recipe import Recipe
from .summary import RunSummary

__all__ = ["resume", "run"]

# What may change when a run is gone on with: how long, and how often something is said or kept.
_MAY_CHANGE = ("epochs", "log_every", "checkpoint_every", "keep", "flush_every")

Started = Callable[[Path], None]


def run(
    recipe: Recipe | Path | str | Mapping[str, Any] = "digits",
    out: Path | str | None = None,
    *,
    overrides: Iterable[str] = (),
    verbose: bool = True,
    started: Started | None = None,
    names: Names = NAMES,
) -> RunSummary:
    """Train what a recipe describes, test it, and return the closing numbers.

    The run directory holds ``recipe.toml`` (complete: it runs again to the same result), ``plan.json``,
    ``environment.json``, ``history.csv`` (per step), ``epochs.csv``, ``checkpoints/``, ``model.safetensors``,
    ``summary.json``, ``figures/`` and ``report.html``. A mistake that can be known before training leaves no directory.

    Args:
        recipe: a recipe, or what :func:`thalweg.recipe.load` takes.
        out: the run directory, which must hold no run; None: a new ``runs/NAME-YYYYMMDD-HHMMSS``.
        overrides: as for :func:`thalweg.recipe.load`.
        verbose: say what is run, with a line per epoch and a progress bar.
        started: called with the run directory before the first step.
        names: what names stand for.

    Raises:
        FileNotFoundError, ValueError, TypeError: what cannot work, in words, before the first step.
        FloatingPointError: the loss became NaN or infinite.
        KeyboardInterrupt: after Ctrl-C; :func:`resume` goes on.
    """
    if not isinstance(recipe, Recipe):
        recipe = load(recipe, overrides, names)
    elif list(overrides):
        recipe = load(recipe.to_dict(), overrides, names)
    learner, data = recipe.build(names)
    directory, is_new = claim(recipe.name, out)
    try:
        recipe.save(directory / "recipe.toml")
        if started is not None:
            started(directory)
        if verbose:
            print(opening(recipe, learner, data, directory), end="\n\n", flush=True)
        begun = time.perf_counter()
        learner.fit(data.train, valid=data.valid, run_dir=directory, verbose=verbose, **recipe.fit_arguments())
    except BaseException:
        release(directory, is_new)
        raise
    return _close(recipe, learner, data, directory, time.perf_counter() - begun)


def resume(
    directory: Path | str,
    *,
    overrides: Iterable[str] = (),
    verbose: bool = True,
    started: Started | None = None,
    names: Names = NAMES,
) -> RunSummary:
    """Go on with a run where it stopped, mid-epoch, to the weights that it would have had without the stop.

    Args:
        directory: the run directory.
        overrides: ``train.epochs=…`` for a longer run; how often lines and checkpoints come. Nothing else can change.
        verbose, started, names: as for :func:`run`.

    Returns:
        The closing numbers; those of before where the run had finished.

    Raises:
        ValueError: the directory holds no run or no checkpoint, or something else than its length was to change.
        FileNotFoundError: there is no such directory.
    """
    directory = Path(directory)
    texts = list(overrides)
    _check_overrides(texts)
    recipe = load(_recipe_of(directory), texts, names)
    before = RunSummary.read(directory)
    progress = read_checkpoint(directory)["progress"]
    step, epoch = int(progress["step"]), int(progress["epoch"])
    # The weights are written when training has ended, also when it was stopped early.
    trained = (directory / "model.safetensors").is_file() and (epoch >= recipe.train.epochs or not texts)
    if trained and before is not None:
        return before
    learner, data = recipe.build(names)
    if started is not None:
        started(directory)
    if verbose:
        print(opening(recipe, learner, data, directory, resumed_at=step), end="\n\n", flush=True)
    if trained:  # it was stopped between its last step and its report
        learner.load(directory)
        learner.load(directory / "model.safetensors")
        return _close(recipe, learner, data, directory, sum(row["seconds"] for row in learner.history.epochs))
    for name in ("summary.json", "model.safetensors"):  # of a run that had finished and is to go on for longer
        (directory / name).unlink(missing_ok=True)
    if texts:
        recipe.save(directory / "recipe.toml")
    begun = time.perf_counter()
    learner.fit(data.train, valid=data.valid, resume=directory, verbose=verbose, **recipe.fit_arguments())
    return _close(recipe, learner, data, directory, time.perf_counter() - begun, resumed_at=step)


def _recipe_of(directory: Path) -> Path:
    if not directory.is_dir():
        raise FileNotFoundError(
            f"resume {directory}: there is no such directory in {Path.cwd()}; give the run directory that `thalweg "
            "run` named when it began."
        )
    if not (directory / "recipe.toml").is_file():
        raise ValueError(
            f"resume {directory}: holds no recipe.toml, so that it is no run of `thalweg run`; a run of `fit` is gone "
            "on with by learner.fit(..., resume=...)."
        )
    latest(directory)
    return directory / "recipe.toml"


def _check_overrides(overrides: Iterable[str]) -> None:
    known = [f"train.{name}" for name in _MAY_CHANGE]
    for text in overrides:
        keys, _ = parse(text)
        if ".".join(keys) not in known:
            raise ValueError(
                f"resume: {text!r} would change the run itself; only {listing(known)} may change when it is gone on "
                "with, so start a new run."
            )


def _close(
    recipe: Recipe, learner: Learner, data: Parts, directory: Path, seconds: float, resumed_at: int | None = None
) -> RunSummary:
    """Test the model, write summary, figures and report, and return the summary."""
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
        seconds=seconds,
        parameters=sum(param.numel() for param in learner.module.parameters()),
        stopped=stopped[-1] if stopped and len(history.epochs) < recipe.train.epochs else "",
        resumed_at=resumed_at,
    )
    write_text(directory / "summary.json", json.dumps(summary.to_dict(), indent=2) + "\n")
    _write_figures(history, directory / "figures")
    report.build(directory)
    return summary


def _write_figures(history: History, folder: Path) -> None:
    """Write ``loss.png`` and ``rates.png``."""
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

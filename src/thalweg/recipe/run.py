"""From a recipe to a finished run directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from thalweg.checkpoint import RunLock, check_links, latest
from thalweg.errors import listing
from thalweg.loop import is_first, read_checkpoint, shared

from . import closing
from .directory import claim, going_on, release
from .dropout import dropout_hooks
from .fitting import check_fit
from .load import load
from .names import NAMES, Names
from .opening import opening
from .overrides import parse
from .parts import Parts
from .recipe import Recipe
from .samples import Samples
from .summary import RunSummary

__all__ = ["resume", "run"]

# What may change when a run is gone on with: how long, how often something is said or kept, and, with what `fit` calls
# each change, a few things that make it another training from there on.
_FREE = ("epochs", "log_every", "checkpoint_every", "keep", "flush_every", "guard", "loggers")
_NAMED = {
    "optimizer.lr": "lr",
    "train.batch_size": "batch_size",
    "train.accumulate": "accumulate",
    "schedule": "schedule",
}

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
    check_fit(recipe, learner, data)
    first = is_first()
    verbose = verbose and first
    directory, is_new = shared(lambda: claim(recipe.name, out))
    try:
        if first:
            recipe.save(directory / "recipe.toml")
        if started is not None:
            started(directory)
        if verbose:
            print(opening(recipe, learner, data, directory), end="\n\n", flush=True)
        begun = time.perf_counter()
        with dropout_hooks(recipe) as masks:
            learner.fit(
                data.train,
                valid=data.valid,
                run_dir=directory,
                verbose=verbose,
                hooks=[*_hooks(data, verbose), *masks],
                **recipe.fit_arguments(),
            )
    except BaseException:
        if first:
            release(directory, is_new)
        raise
    seconds = time.perf_counter() - begun
    summary: RunSummary = shared(lambda: closing.close(recipe, learner, data, directory, seconds))
    return summary


def resume(
    directory: Path | str,
    *,
    expected: Recipe | None = None,
    overrides: Iterable[str] = (),
    verbose: bool = True,
    started: Started | None = None,
    names: Names = NAMES,
) -> RunSummary:
    """Go on with a run where it stopped, mid-epoch, to the weights that it would have had without the stop.

    Args:
        directory: the run directory.
        expected: the recipe that the run must be of; None: whatever it is of.
        overrides: ``train.epochs=…`` for a longer run; how often lines and checkpoints come; and ``optimizer.lr=…``,
            ``train.batch_size=…``, ``train.accumulate=…``, ``schedule.…``, each of which is reported. Nothing else can
            change.
        verbose, started, names: as for :func:`run`.

    Returns:
        The closing numbers; those of before where the run had finished.

    Raises:
        ValueError: the directory holds no run or no checkpoint, or one of another recipe; something was to change that
            cannot; another process trains in it.
        FileNotFoundError: there is no such directory.
    """
    directory = Path(directory)
    texts = list(overrides)
    change = _changes(texts)
    if expected is not None:
        _check_same(directory, load(_recipe_of(directory), (), names), expected)
    recipe = load(_recipe_of(directory), texts, names)
    first = is_first()
    verbose = verbose and first
    step, trained, before = shared(lambda: _found(directory, recipe, bool(texts)))
    if trained and change:
        raise ValueError(
            f"resume {directory}: the run has finished its {recipe.train.epochs} epochs, so that {' and '.join(texts)} "
            "would change nothing; ask for more epochs too (train.epochs=…), or start a new run."
        )
    if trained and before is not None:
        summary: RunSummary = before
        return summary
    learner, data = recipe.build(names)
    check_fit(recipe, learner, data)
    if started is not None:
        started(directory)
    if verbose:
        print(opening(recipe, learner, data, directory, resumed_at=step), end="\n\n", flush=True)
    if trained:  # it was stopped between its last step and its report
        learner.load(directory)
        learner.load(directory / "model.safetensors")
        seconds = sum(row["seconds"] for row in learner.history.epochs)
        summary = shared(lambda: closing.close(recipe, learner, data, directory, seconds))
        return summary
    begun = time.perf_counter()
    places = going_on(directory, recipe.to_toml() if texts else None) if first else nullcontext()
    with places, dropout_hooks(recipe) as masks:
        learner.fit(
            data.train,
            valid=data.valid,
            resume=directory,
            verbose=verbose,
            hooks=[*_hooks(data, verbose), *masks],
            change=change,
            **recipe.fit_arguments(),
        )
    seconds = time.perf_counter() - begun
    summary = shared(lambda: closing.close(recipe, learner, data, directory, seconds, resumed_at=step))
    return summary


def _found(directory: Path, recipe: Recipe, changed: bool) -> tuple[int, bool, RunSummary | None]:
    """Return how far the run has come, whether it has been trained to its end, and its summary."""
    check_links(directory)
    RunLock(directory).release()  # nothing is touched in a directory that another process trains in
    progress = read_checkpoint(directory)["progress"]
    step, epoch = int(progress["step"]), int(progress["epoch"])
    # The weights are written when training has ended, also when it was stopped early.
    trained = (directory / "model.safetensors").is_file() and (epoch >= recipe.train.epochs or not changed)
    return step, trained, RunSummary.read(directory)


def _hooks(data: Parts, verbose: bool) -> list[Samples]:
    """Return what shows the model's work after each epoch, where the data know how."""
    return [] if data.show is None else [Samples(data.show, verbose)]


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


def _changes(overrides: Iterable[str]) -> list[str]:
    """Return what `fit` calls the changes that the overrides make.

    Raises:
        ValueError: one would change something else.
    """
    free = [f"train.{name}" for name in _FREE]
    named = []
    for text in overrides:
        keys, _ = parse(text)
        key = ".".join(keys)
        name = _NAMED.get(key) or _NAMED.get(keys[0])
        if name is not None:
            named.append(name)
        elif key not in free and not any(key.startswith(f"{one}.") for one in free):
            raise ValueError(
                f"resume: {text!r} would change the run itself; only {listing([*free, *_NAMED])} may change when it is "
                "gone on with, so start a new run."
            )
    return list(dict.fromkeys(named))


def _check_same(directory: Path, own: Recipe, expected: Recipe) -> None:
    """Raise unless both recipes describe the same training; how long it is and what is said of it apart."""
    here, there = _flat(expected.to_dict()), _flat(own.to_dict())
    ignored = ("description", "published", *(f"train.{name}" for name in _FREE))
    differing = [
        f"{key} is {here.get(key)!r} in the recipe and {there.get(key)!r} in the run"
        for key in dict.fromkeys([*there, *here])
        if here.get(key) != there.get(key) and key not in ignored
    ]
    if differing:
        raise ValueError(
            f"resume {directory}: the run is one of another recipe: {'; '.join(differing)}. Leave the recipe out to go "
            "on with the run's own, or start a new run."
        )


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

"""``thalweg run``: train what a recipe describes."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg import recipe
from thalweg.checkpoint import latest

from .joining import joined
from .words import Words, split_words

__all__ = ["run"]


def run(
    words: Words = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The run directory; by default a new one in runs/."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with a run where it stopped.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object, and nothing else, on standard output.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the run directory at the end.")
    ] = False,
) -> int:
    """Train what a recipe describes; write a run directory.

    \b
    thalweg run
    thalweg run recipe.toml optimizer.lr=3e-4 train.epochs=3 optimizer=adamw
    thalweg run --resume runs/digits-20250131-120000
    thalweg run --resume runs/digits-20250131-120000 train.epochs=40 optimizer.lr=1e-4

    The directory holds recipe.toml (complete), history.csv, epochs.csv, plan.json, environment.json, summary.json,
    model.safetensors, checkpoints, figures and report.html.
    """
    name, overrides = split_words(words)
    if resume is not None and out is not None:
        raise ValueError(f"run: --resume {resume} goes on in that run's own directory; leave --out out.")
    places: list[Path] = []
    with joined(lambda: _described(name, overrides, resume).train.device) as prints:
        settings: dict[str, Any] = {"verbose": prints and not quiet, "started": places.append}
        try:
            # With --json, lines that are not the summary go to standard error.
            with redirect_stdout(sys.stderr) if as_json else nullcontext():
                if resume is None:
                    made = recipe.load(name or "digits", overrides)
                    for note in made.notes if prints else ():
                        print(note, file=sys.stderr)
                    summary = recipe.run(made, out, **settings)
                else:
                    expected = None if name is None else recipe.load(name)
                    summary = recipe.resume(resume, expected=expected, overrides=overrides, **settings)
        except (KeyboardInterrupt, SystemExit) as stop:
            if prints:
                print(_stopped(places), file=sys.stderr)
            return stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else 130
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}\n{_kept(places)}") from None
    if not prints:
        return 0
    if resume is not None and not places:
        raise ValueError(
            f"run: --resume {resume}: the run has finished its {summary.epochs} epochs, and nothing is left to go on "
            f"with; for more: thalweg run --resume {resume} train.epochs=N. What it came to: thalweg report {resume}"
        )
    if as_json:
        print(json.dumps(summary.to_dict()))
    elif quiet:
        print(summary.run)
    else:
        print(f"\n{summary}")
    return 0


def _described(name: str | None, overrides: list[str], resume: Path | None) -> recipe.Recipe:
    """Return the recipe that says on what kind of device the processes train."""
    return recipe.load(name or "digits", overrides) if resume is None else recipe.load(resume / "recipe.toml")


def _stopped(places: list[Path]) -> str:
    """Return what to say after Ctrl-C or SIGTERM."""
    try:
        step = int(latest(places[0]).name.removeprefix("step-"))
    except (IndexError, ValueError):
        return "stopped before the first step; nothing is kept"
    return f"stopped at step {step}; go on with: thalweg run --resume {places[0]}"


def _kept(places: list[Path]) -> str:
    return f"What was recorded is in {places[0]}; look at it with: thalweg report {places[0]}" if places else ""

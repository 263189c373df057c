"""``thalweg race``: variants of a recipe against each other."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from thalweg import recipe
from thalweg.race import linear, log

from .words import Words, split_words

__all__ = ["race", "values_of"]


def values_of(name: str, text: str) -> list[float]:
    """Return the numbers that an option names: ``1e-5..1e-1:12`` (equal ratios; from 0 equal steps), or ``0,0.1``.

    Raises:
        ValueError: no such form, or a range that runs backwards.

    >>> values_of("lr", "1e-3..1e-1:3"), values_of("weight-decay", "0,0.1")
    ([0.001, 0.01, 0.1], [0.0, 0.1])
    """
    found: list[float] = []
    for part in text.split(","):
        ends, _, count = part.partition(":")
        low, dots, high = ends.partition("..")
        try:
            if dots:
                spread = log if float(low) > 0 else linear
                found += spread(float(low), float(high), int(count or 10))
            elif count:
                raise ValueError(part)
            else:
                found.append(float(part))
        except ValueError as error:
            if str(error).startswith("race."):
                raise
            raise ValueError(
                f"race: --{name} {text!r}: {part!r} is neither a number nor a range LOW..HIGH:COUNT; write for example "
                "1e-5..1e-1:12 or 0,0.1."
            ) from None
    return found


def race(
    words: Words = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="NAME,…", help="Rules that race; by default the recipe's own.")
    ] = None,
    lr: Annotated[str | None, typer.Option(metavar="VALUES", help="Rates: 1e-5..1e-1:12, or 0.1,0.01.")] = None,
    weight_decay: Annotated[str | None, typer.Option(metavar="VALUES", help="Weight decays.")] = None,
    momentum: Annotated[str | None, typer.Option(metavar="VALUES", help="Momentums, of rules that have one.")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of each setting, from the recipe's own on.")] = 1,
    halving: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="Successive halving by this factor; by default none.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the race by the clock.")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates of each training, instead of the recipe's epochs.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="The directory; by default a new one in runs/.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with an interrupted race (the same call otherwise).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the leaderboard as one JSON object.")] = False,
) -> int:
    """Train variants of a recipe at once, and say which is best.

    \b
    thalweg race digits --optimizer sgd,adamw,lion --lr 1e-5..1e-1:12 --weight-decay 0,0.1 --seeds 3
    thalweg race recipe.toml --lr 1e-4..1e-1:16 --halving 3 train.epochs=20

    The directory holds race.csv, race.json, winner.toml (for thalweg run), figures and report.html.
    """
    name, overrides = split_words(words)
    given = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
    hyper = {key: values_of(key.replace("_", "-"), text) for key, text in given.items() if text is not None}
    optimizers = [word.strip() for word in optimizer.split(",") if word.strip()] if optimizer else []
    with redirect_stdout(sys.stderr):  # what is not the result
        result, _, directory = recipe.race(
            name or "digits",
            out=out,
            overrides=overrides,
            optimizers=optimizers,
            seeds=seeds,
            halving=halving,
            minutes=minutes,
            steps=steps,
            resume=resume,
            hyper=hyper,
        )
    if as_json:
        print(json.dumps({"run": str(directory), **json.loads((directory / "race.json").read_text(encoding="utf-8"))}))
        return 0
    print(result)
    print(f"\n{directory / 'report.html'}\nthe winner again: thalweg run {directory / 'winner.toml'}")
    return 0

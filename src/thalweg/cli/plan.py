"""``thalweg plan``: what a recipe would do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from thalweg import recipe
from thalweg.recipe import opening

from .words import split_words

__all__ = ["plan"]


def plan(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE|KEY=VALUE",
            help="A TOML file or the name of an embedded recipe (digits if none is given), and values to override.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print what a run would do, without training.

    Updates, the rate and the momentum as curves, engine, memory, and what each parameter gets.
    """
    name, overrides = split_words(words)
    made = recipe.load(name or "digits", overrides)
    for note in made.notes:
        print(note, file=sys.stderr)
    learner, data = made.build()
    planned = recipe.check_fit(made, learner, data)
    print(opening(made, learner, data), end="\n\n")
    print(planned)

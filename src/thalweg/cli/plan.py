"""``thalweg plan``: what a recipe would do."""

from __future__ import annotations

import sys

from thalweg import recipe
from thalweg.recipe import opening

from .words import Words, split_words

__all__ = ["plan"]


def plan(
    words: Words = None,
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

"""``thalweg verify``: prove that a run can be gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg import recipe

__all__ = ["verify"]


def verify(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|RECIPE", help="A run directory or a recipe file.", show_default=False)
    ],
    steps: Annotated[int, typer.Option("--steps", help="Updates of each half.")] = 20,
) -> int:
    """Prove that a run goes on to the same bits.

    2k updates are compared with k, resume, k more: weights, optimizer, generators, history.

    Everything must be the same bit for bit; otherwise the first tensor that differs is named, and the exit status is 1.
    """
    found = recipe.verify(run, steps)
    print(found)
    return 0 if found.holds else 1

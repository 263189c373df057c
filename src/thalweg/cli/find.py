"""``thalweg find``: a learning rate for a recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from thalweg import recipe

from .joining import joined
from .words import Words, split_words

__all__ = ["find"]


def find(
    words: Words = None,
    low: Annotated[float | None, typer.Option(help="Lowest rate of the sweep; by default the rule's.")] = None,
    high: Annotated[float | None, typer.Option(help="Highest rate of the sweep; by default the rule's.")] = None,
    steps: Annotated[int, typer.Option(help="Updates of the sweep.")] = 100,
    verify: Annotated[
        bool | None,
        typer.Option(help="Decide by short trainings; by default where they cost at most a tenth of the run."),
    ] = None,
    pretrained: Annotated[bool, typer.Option(help="The weights come from an earlier training.")] = False,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the curve as a figure.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> int:
    """Look for a learning rate; nothing is trained for good.

    \b
    thalweg find digits
    thalweg find recipe.toml optimizer=sgd --verify --figure rates.png

    The exit status is 1 where no rate is reliable; the reason is printed.
    """
    name, overrides = split_words(words)
    made = recipe.load(name or "digits", overrides)
    with joined(lambda: made.train.device) as prints:
        for note in made.notes if prints else ():
            print(note, file=sys.stderr)
        learner, data = made.build()
        found = learner.lr_find(
            data.train,
            valid=data.valid,
            **made.plan_arguments(),
            low=low,
            high=high,
            steps=steps,
            pretrained=pretrained,
            verify=verify,
        )
    if not prints:
        return 0
    if figure is not None:
        found.plot().savefig(figure)
    if as_json:
        keys = ("suggestion", "method", "reason", "suggestions", "band", "decided_by", "updates")
        print(json.dumps({key: getattr(found, key) for key in keys}))
    else:
        print("\n".join(f"{label:<12} {text}" for label, text in found.lines()))
    return 0 if found.suggestion is not None else 1

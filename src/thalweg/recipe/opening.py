"""What is about to run, in a few lines."""

from __future__ import annotations

from pathlib import Path

from thalweg.learner import Learner

from .parts import Parts
from .recipe import Recipe

__all__ = ["opening"]


def opening(
    recipe: Recipe, learner: Learner, data: Parts, directory: Path | None = None, resumed_at: int | None = None
) -> str:
    """Return the lines that stand above a run: recipe, data, model, rule, directory.

    >>> import thalweg.recipe as recipes
    >>> recipe = recipes.load("digits", ["model.hidden=[8]"])
    >>> print(opening(recipe, *recipe.build()).splitlines()[2])
    model  mlp, 626 parameters, on cpu
    """
    count = sum(param.numel() for param in learner.module.parameters())
    rule = type(learner.rule or learner.optimizer).__name__
    rows = [
        ("data", str(data)),
        ("model", f"{recipe.model['name']}, {count:,} parameters, on {learner.device}"),
        ("loss", f"{recipe.loss['name']}, lowered by {rule}"),
    ]
    if directory is not None:
        rows.append(("run", f"{directory}" + ("" if resumed_at is None else f", from step {resumed_at:,} on")))
    first = f"{recipe.name}: {recipe.description}" if recipe.description else recipe.name
    return "\n".join([first, *(f"{name:<6} {text}" for name, text in rows)])

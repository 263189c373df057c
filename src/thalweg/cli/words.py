"""The words of a command line: a recipe and its overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Words", "split_words"]

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RECIPE|KEY=VALUE",
        help="A TOML file or the name of an embedded recipe (digits if none is given), and values to override.",
        show_default=False,
    ),
]


def split_words(words: Sequence[str] | None) -> tuple[str | None, list[str]]:
    """Return (recipe or None, overrides): a word with ``=`` is an override, unless there is a file of that name.

    Raises:
        ValueError: more than one recipe.

    >>> split_words(["digits", "optimizer.lr=3e-4"]), split_words(["train.epochs=2"])
    (('digits', ['optimizer.lr=3e-4']), (None, ['train.epochs=2']))
    """
    recipes = [word for word in words or () if "=" not in word or Path(word).is_file()]
    if len(recipes) > 1:
        raise ValueError(
            f"{' and '.join(map(repr, recipes))} are {len(recipes)} recipes, and one is taken; write overrides as "
            "key=value."
        )
    return (recipes[0] if recipes else None), [word for word in words or () if word not in recipes]

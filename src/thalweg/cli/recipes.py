"""``thalweg recipes``: what comes with the package."""

from __future__ import annotations

from typing import Annotated

import typer

from thalweg import recipe
from thalweg.errors import unknown_name

__all__ = ["recipes"]


def recipes(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The recipe to print.", show_default=False)] = None,
    complete: Annotated[bool, typer.Option("--complete", help="Print it with every default spelled out.")] = False,
) -> None:
    """List the embedded recipes, or print one to begin with."""
    known = recipe.embedded()
    if name is None:
        width = max(map(len, known))
        for known_name in known:
            print(f"{known_name:<{width}}  {recipe.load(known_name).description}")
        print("\nthalweg recipes NAME > recipe.toml begins one of your own; thalweg run NAME runs one as it is.")
        return
    if name not in known:
        raise unknown_name("recipes", "recipe", name, known)
    print(recipe.load(name).to_toml() if complete else recipe.read_embedded(name), end="")

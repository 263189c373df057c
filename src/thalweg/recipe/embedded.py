"""The recipes that come with the package."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["embedded", "read_embedded"]


def embedded() -> tuple[str, ...]:
    """Return the names of the embedded recipes, sorted.

    >>> "digits" in embedded()
    True
    """
    folder = files(__package__) / "recipes"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def read_embedded(name: str) -> str:
    """Return an embedded recipe as it was written, comments included.

    >>> "[optimizer]" in read_embedded("digits")
    True
    """
    return (files(__package__) / "recipes" / f"{name}.toml").read_text(encoding="utf-8")

"""Pairs of phrases out of a dictionary in the format of Ding: ``Haus {n} | Häuser {pl} :: house | houses``."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["pairs_of", "read_pairs"]

_NOTES = re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]|\([^()]*\)|<[^<>]*>")
_SPACES = re.compile(r"\s+")


def pairs_of(line: str) -> list[tuple[str, str]]:
    """Return the pairs of one line: its groups (``|``) side by side, the first of the variants (``;``) of each.

    Notes on grammar, fields and meanings (``{m}``, ``[bot.]``, ``(old)``) are left out; so is a line whose sides have
    different numbers of groups, which do not belong together.

    >>> pairs_of("Haus {n}; Gebäude {n} | Häuser {pl} :: house; building | houses")
    [('Haus', 'house'), ('Häuser', 'houses')]
    >>> pairs_of("# a comment")
    []
    """
    left, sign, right = line.partition(" :: ")
    sides = [[_plain(group) for group in side.split("|")] for side in (left, right)]
    if not sign or line.startswith("#") or len(sides[0]) != len(sides[1]):
        return []
    return [(de, en) for de, en in zip(*sides, strict=True) if de and en]


def _plain(group: str) -> str:
    """Return a group's first variant without notes."""
    return _SPACES.sub(" ", _NOTES.sub(" ", group)).split(";")[0].strip()


def read_pairs(path: Path | str) -> list[tuple[str, str]]:
    """Return every pair of a dictionary file, in its order, each once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no pair.
    """
    with Path(path).open(encoding="utf-8") as lines:
        pairs = dict.fromkeys(pair for line in lines for pair in pairs_of(line))
    if not pairs:
        raise ValueError(
            f"data {path}: no line has the form 'de :: en'; pass a dictionary in the format of Ding, such as Debian's "
            "trans-de-en."
        )
    return list(pairs)

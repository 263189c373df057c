"""Ids of any kind and the rows they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import did_you_mean

__all__ = ["Vocabulary"]

Array = np.ndarray[Any, np.dtype[Any]]


class Vocabulary:
    """A sorted list of ids; row 0 stands for every id that is not in it.

    Args:
        ids: whole numbers (sparse ones too) or texts, in any order, repeated or not.
        what: what they name, for messages: ``"user"``, ``"item"``.

    Attributes:
        ids: the known ids, sorted, **(n,)**; id number k has row k + 1.

    Raises:
        TypeError: the ids are neither whole numbers nor texts.
        ValueError: there are none.

    >>> films = Vocabulary([50, 7, 50, 1000000007], "item")
    >>> films.rows([7, 50, 8]).tolist(), len(films)
    ([1, 2, 0], 4)
    >>> films.id_of(3)
    1000000007
    """

    def __init__(self, ids: Iterable[Any], what: str = "id") -> None:
        found = np.unique(as_ids(ids, what))
        if not len(found):
            raise ValueError(f"recommend: there is no {what} in the table; give it at least one row.")
        self.ids = found
        self.what = what

    def __len__(self) -> int:
        """Rows of a table indexed by this vocabulary: the known ids and the unknown."""
        return len(self.ids) + 1

    def __contains__(self, one: object) -> bool:
        return bool(self.row(one))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.ids):,} {self.what}s)"

    @property
    def is_text(self) -> bool:
        """Whether the ids are texts."""
        return self.ids.dtype.kind == "U"

    def rows(self, ids: Iterable[Any]) -> Tensor:
        """Return the row of each id, 0 for an unknown one; **(m,)**, int64.

        Raises:
            TypeError: texts were given for whole numbers, or the other way round.
        """
        asked = as_ids(ids, self.what)
        if len(asked) and (asked.dtype.kind == "U") != self.is_text:
            kinds = ("text", "whole numbers") if self.is_text else ("whole numbers", "text")
            raise TypeError(
                f"recommend: the {self.what} ids of the table are {kinds[0]}, but {asked[0].item()!r} was asked for, "
                f"of {kinds[1]}; give ids as they stand in the table."
            )
        place = np.searchsorted(self.ids, asked)
        place[place == len(self.ids)] = 0
        rows = np.where(self.ids[place] == asked, place + 1, 0)
        return torch.from_numpy(rows.astype(np.int64))

    def row(self, one: object) -> int:
        """Return the row of one id, 0 if it is unknown."""
        return int(self.rows([one])[0])

    def known_row(self, one: object, who: str) -> int:
        """Return the row of one id.

        Raises:
            ValueError: it is unknown; the message names the nearest known one.
        """
        row = self.row(one)
        if not row:
            hint = did_you_mean(str(one), [str(known) for known in self.ids.tolist()])
            raise ValueError(
                f"{who}: there is no {self.what} {one!r} among the {len(self.ids):,} of the table.{hint} Give one of "
                "them."
            )
        return row

    def id_of(self, row: int) -> Any:
        """Return the id of a row >= 1 as a plain ``int`` or ``str``."""
        assert row > 0, "row 0 stands for many ids"
        return self.ids[row - 1].item()

    def parse(self, text: str) -> Any:
        """Return the id that *text* writes, as the command line needs it.

        Raises:
            ValueError: the ids are whole numbers, and *text* is none.
        """
        if self.is_text:
            return text
        try:
            return int(text)
        except ValueError:
            raise ValueError(
                f"recommend: the {self.what} ids of the model are whole numbers, and {text!r} is none; give e.g. "
                f"{self.ids[0]}."
            ) from None


def as_ids(ids: Iterable[Any], what: str) -> Array:
    """Return ids as an int64 or a text array.

    Raises:
        TypeError: they are something else.
        ValueError: one is missing, with its row.

    >>> as_ids([3.0, 4.0], "user").tolist(), as_ids(["a", 1], "user").tolist()
    ([3, 4], ['a', '1'])
    """
    array = ids if isinstance(ids, np.ndarray) else np.asarray(list(ids) if not hasattr(ids, "__array__") else ids)
    if array.ndim != 1:
        raise TypeError(f"recommend: {what} ids have the shape {array.shape}; give one id per row.")
    if array.dtype.kind in "iu":
        return array.astype(np.int64, copy=False)
    if array.dtype.kind == "f":  # whole numbers, as pandas keeps them beside missing ones
        missing = np.flatnonzero(~np.isfinite(array))
        if len(missing):
            raise ValueError(
                f"recommend: the {what} of row {missing[0]} is missing ({len(missing)} in all); drop such rows first."
            )
        if (array == np.floor(array)).all():
            return array.astype(np.int64)
        raise TypeError(f"recommend: {what} ids are fractions such as {array[array % 1 != 0][0]}; give ids.")
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind == "O":
        absent = [row for row, one in enumerate(array) if one is None or one != one]
        if absent:
            raise ValueError(
                f"recommend: the {what} of row {absent[0]} is missing ({len(absent)} in all); drop such rows first."
            )
        if all(isinstance(one, (int, np.integer)) and not isinstance(one, bool) for one in array):
            return array.astype(np.int64)
        return np.array([str(one) for one in array], dtype=str)
    raise TypeError(f"recommend: {what} ids are of type {array.dtype}; give whole numbers or texts.")

"""A text as the numbers of its characters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .obtain import data_root

__all__ = ["Characters", "find_text"]


class Characters:
    """The characters of a text, in the order of their code points, and their numbers.

    Args:
        text: whose characters they are.

    >>> characters = Characters("banana")
    >>> characters.encode("nab").tolist(), characters.decode([1, 0, 2])
    ([2, 0, 1], 'ban')
    """

    def __init__(self, text: str) -> None:
        self.known = "".join(sorted(set(text)))

    def __len__(self) -> int:
        return len(self.known)

    def encode(self, text: str) -> Tensor:
        """Return the numbers of a text's characters, **(n,)** int64.

        Raises:
            ValueError: a character that is not known.
        """
        codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        known = np.frombuffer(self.known.encode("utf-32-le"), dtype=np.uint32)
        numbers = np.searchsorted(known, codes).clip(max=len(known) - 1)
        wrong = np.flatnonzero(known[numbers] != codes)
        if wrong.size:
            raise ValueError(
                f"Characters: {text[wrong[0]]!r} at place {wrong[0]} is not among the {len(self)} known characters; "
                "make them from all of the text."
            )
        return torch.from_numpy(numbers.astype(np.int64))

    def decode(self, numbers: Tensor | list[int]) -> str:
        """Return the text of numbers, **(n,)**."""
        values = numbers.tolist() if isinstance(numbers, Tensor) else numbers
        return "".join(self.known[value] for value in values)


def find_text(name: str, file: str | None = None, root: str | Path | None = None) -> Path:
    """Return the path of a text: *file*, else ``NAME/NAME.txt`` or ``NAME.txt`` in the folder of data sets.

    Args:
        name: of the text.
        file: its path, where it is said.
        root: the folder of data sets; None as in `data_root`.

    Raises:
        FileNotFoundError: it is not there.
    """
    folder = data_root(root)
    places = [Path(file)] if file is not None else [folder / name / f"{name}.txt", folder / f"{name}.txt"]
    for place in places:
        if place.is_file():
            return place
    where = " nor ".join(str(place.absolute()) for place in places)
    raise FileNotFoundError(
        f"data {name!r}: there is neither {where}; put the text there, or name any text with file = 'PATH' "
        "(data.file=PATH), or the folder of data sets with the environment variable THALWEG_DATA."
        if len(places) > 1
        else f"data {name!r}: there is no file {where}; name a text that is there."
    )

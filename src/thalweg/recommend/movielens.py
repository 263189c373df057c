"""MovieLens-100k: as ratings, and as a data set of recipes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from thalweg.data import data_root

from .figures import write_reading
from .ratings import Ratings
from .read import read_ratings
from .reading import Reading
from .split import split_fraction

__all__ = ["RatedPairs", "movielens", "movielens_pairs"]

Pair = tuple[Tensor, Tensor]


def movielens(root: str | Path | None = None, *, features: bool = False) -> Ratings:
    """Return MovieLens-100k: 100,000 ratings by 943 users of 1,682 films, in GroupLens' order of rows.

    For research only; `thalweg data ml-100k` obtains it.

    Args:
        root: the folder of data sets; None takes the environment variable ``THALWEG_DATA``, else ``data``.
        features: also age, gender and occupation of the users, year and genres of the films.

    Raises:
        FileNotFoundError: it has not been obtained.

    Source: Harper and Konstan, *The MovieLens Datasets: History and Context*, ACM TiiS 2015.
    """
    folder = data_root(root) / "ml-100k"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"recommend.movielens: there is no {folder.absolute()}; run `thalweg data ml-100k`, or say where the data "
            "sets are with root=… or the environment variable THALWEG_DATA."
        )
    return read_ratings(folder, features=features)


@dataclass(frozen=True, eq=False)
class RatedPairs:
    """Ratings as a recipe takes data: pairs (user row, item row) **(n, 2)** int64, and ratings **(n,)** float32.

    Attributes:
        train, valid, test: the parts.
        ratings: the training part, for reading the model.
    """

    train: Pair
    valid: Pair
    test: Pair
    ratings: Ratings

    def describe(self, module: nn.Module, directory: Path) -> None:
        """Write what *module* has learnt of the films into the figures of a run."""
        write_reading(Reading(module, self.ratings), directory / "figures")


def movielens_pairs(root: str | None = None, seed: int = 0) -> RatedPairs:
    """Return MovieLens-100k as pairs: 80,000 to train, 10,000 to validate, 10,000 to test, drawn by *seed*.

    The rows of the tables are 944 users and 1,683 films, the unknown included.
    """
    rest, test = split_fraction(movielens(root), 0.1, seed=seed)
    train, valid = split_fraction(rest, 1 / 9, seed=seed + 1)

    def pair(part: Ratings) -> Pair:
        return torch.stack([part.users, part.items], dim=1), part.values

    return RatedPairs(pair(train), pair(valid), pair(test), train)

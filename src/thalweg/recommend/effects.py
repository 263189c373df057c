"""Groups of ratings that share an intercept: a user's day, a user's hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import check_number, unknown_name

from .ratings import Ratings

__all__ = ["PERIODS", "Effects", "period_seconds"]

PERIODS = {"day": 86_400, "hour": 3_600}


@dataclass(frozen=True, eq=False)
class Effects:
    """Which (user, period) stand in which row of which table.

    People rate many things at a sitting, and a sitting has its own level: a mood, or that all are rated from memory.

    Attributes:
        seconds: length of each kind's period.
        keys: of each kind, the (user row, period) pairs of the training part as one number, sorted, **(g,)**; key
            number k has row k + 1, and row 0 is every other.
    """

    seconds: tuple[int, ...] = ()
    keys: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, ratings: Ratings, kinds: Sequence[str | int]) -> Effects:
        """Return the groups of a training part.

        Raises:
            ValueError: an unknown kind, or ratings without times.
        """
        seconds = tuple(period_seconds(kind) for kind in kinds)
        if seconds and ratings.times is None:
            raise ValueError(
                f"Recommender: effects={tuple(kinds)!r} need the time of each rating; name its column with time=… in "
                "fit."
            )
        times = ratings.times
        keys = tuple(torch.unique(_key(ratings.users, times, one)) for one in seconds if times is not None)
        return cls(seconds, keys)

    @property
    def sizes(self) -> list[int]:
        """Rows of each table, the unknown included."""
        return [len(keys) + 1 for keys in self.keys]

    def rows(self, users: Tensor, times: Tensor | None) -> Tensor:
        """Return the row of each rating in each table, **(n, kinds)**; 0 where the group or the time is not known.

        >>> table = {"user": [1, 1, 2], "item": [1, 2, 3], "rating": [3, 4, 5], "time": [0, 90000, 90000]}
        >>> ratings = Ratings.of(table, time="time")
        >>> effects = Effects.of(ratings, ["day"])
        >>> effects.rows(torch.tensor([1, 2, 2]), torch.tensor([10.0, 10.0, 86400.0])).flatten().tolist()
        [1, 0, 3]
        """
        found = torch.zeros(len(users), len(self.keys), dtype=torch.long)
        if times is not None:
            for column, (one, keys) in enumerate(zip(self.seconds, self.keys, strict=True)):
                key = _key(users, times, one)
                place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
                found[:, column] = torch.where(keys[place] == key, place + 1, 0)
        return found


def _key(users: Tensor, times: Tensor, seconds: int) -> Tensor:
    return users * (1 << 40) + torch.floor(times / seconds).long()


def period_seconds(kind: str | int) -> int:
    """Return the seconds of a kind of period: ``"day"``, ``"hour"``, or a number of seconds >= 1."""
    if isinstance(kind, int) and not isinstance(kind, bool):
        check_number("Recommender", "effects", kind, low=1)
        return kind
    if kind not in PERIODS:
        raise unknown_name("Recommender", "effect", kind, PERIODS)
    return PERIODS[kind]

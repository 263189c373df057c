"""The momentums between which a cycle moves."""

from __future__ import annotations

from thalweg.errors import check_number

__all__ = ["check_momentums"]


def check_momentums(who: str, moms: object, names: tuple[str, ...]) -> None:
    """Raise unless *moms* holds one momentum in [0, 1) for each of *names*.

    Raises:
        TypeError: not a tuple.
        ValueError: a wrong number of momentums, or one out of range.
    """
    if not isinstance(moms, tuple):
        raise TypeError(
            f"{who}: moms={moms!r} must be a tuple ({', '.join(names)}); pass () to leave the momentum alone."
        )
    if len(moms) != len(names):
        raise ValueError(
            f"{who}: moms={moms!r} has {len(moms)} momentums, but {len(names)} are needed: {', '.join(names)}."
        )
    for value in moms:
        check_number(who, "moms", value, low=0.0, high=1.0, high_open=True)

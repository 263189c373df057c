"""The check that the models share: sizes are whole numbers >= 1."""

from __future__ import annotations

from thalweg.errors import check_number

__all__ = ["check_sizes"]


def check_sizes(who: str, **sizes: int) -> None:
    """Raise unless every size is a whole number >= 1.

    Raises:
        TypeError: one is no whole number.
        ValueError: one is smaller than 1.

    >>> check_sizes("MLP", inputs=0)
    Traceback (most recent call last):
    ...
    ValueError: MLP: inputs=0 must be >= 1; choose a value in that range.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{who}: {name}={value!r} must be a whole number, got {type(value).__name__}; pass an int.")
        check_number(who, name, value, low=1)

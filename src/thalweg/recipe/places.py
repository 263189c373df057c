"""Mistakes named with the place where they stand in the recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

__all__ = ["at", "is_refusal"]


def is_refusal(error: BaseException) -> bool:
    """Return whether Thalweg itself raised *error*: its innermost frame is ours, so that its message says what to do.

    An exception out of a user's own module, of torch or of Python is not: there the traceback is what helps.

    >>> import json
    >>> from thalweg.errors import check_number
    >>> def caught(fail):
    ...     try:
    ...         fail()
    ...     except Exception as error:
    ...         return is_refusal(error)
    >>> caught(lambda: check_number("SGD", "lr", -1, low=0)), caught(lambda: json.loads("{"))
    (True, False)
    """
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return name.split(".")[0] == "thalweg"


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put *place* in front of what Thalweg refuses within, unless the message begins with it already.

    >>> from thalweg.errors import check_number
    >>> with at("recipe.toml [model]"):
    ...     check_number("MLP", "inputs", 0, low=1)
    Traceback (most recent call last):
    ...
    ValueError: recipe.toml [model]: MLP: inputs=0 must be >= 1; choose a value in that range.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        if type(error) not in (ValueError, TypeError) or not is_refusal(error) or str(error).startswith(place):
            raise
        raise type(error)(f"{place}: {error}") from None

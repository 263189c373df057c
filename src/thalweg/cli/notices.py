"""Warnings as lines for a reader of the terminal."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["notices"]


@contextmanager
def notices() -> Iterator[None]:
    """Print each warning meant for users once, as ``note: …`` on standard error, without the line of our source.

    >>> import contextlib
    >>> with contextlib.redirect_stderr(sys.stdout), notices():
    ...     warnings.simplefilter("always")
    ...     for _ in range(2):
    ...         warnings.warn("the model seems to end in a softmax", stacklevel=1)
    note: the model seems to end in a softmax
    """
    seen: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is not UserWarning:
            print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=sys.stderr)
        elif str(message) not in seen:
            seen.add(str(message))
            print(f"note: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield

"""Commands that torchrun has started several times over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from thalweg.loop import Processes, is_first

__all__ = ["joined"]


@contextmanager
def joined(device: Callable[[], str]) -> Iterator[bool]:
    """Join the other processes for as long as the command runs, and yield whether this one prints.

    Args:
        device: returns what the recipe asks for; it is called only where there are several processes.

    Raises:
        ValueError: a GPU was asked for where there is none for this process.

    >>> with joined(lambda: "cpu") as prints:
    ...     prints
    True
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # torchrun started this
        Processes.join(device())
    try:
        yield is_first()
    finally:
        Processes.leave()

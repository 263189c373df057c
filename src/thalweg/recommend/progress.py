"""A bar for what takes longer than a second."""

from __future__ import annotations

import time
from collections.abc import Iterator

__all__ = ["counted"]

_PATIENCE = 1.0


def counted(total: int, what: str, verbose: bool) -> Iterator[int]:
    """Yield 0 … total − 1, and show how far it has come once a second has passed.

    >>> list(counted(3, "drawing", verbose=False))
    [0, 1, 2]
    """
    if not verbose:
        yield from range(total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=False) as bar:
        task = bar.add_task(what, total=total, visible=False)
        started = time.monotonic()
        for number in range(total):
            yield number
            bar.update(task, completed=number + 1, visible=time.monotonic() - started > _PATIENCE)

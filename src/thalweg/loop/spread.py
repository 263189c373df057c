"""Independent computations shared out over processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from thalweg.data import Source

from .processes import Processes

__all__ = ["check_unshared", "spread", "spreading"]

_ON: ContextVar[bool] = ContextVar("spread", default=False)


@contextmanager
def spread() -> Iterator[None]:
    """Let races and surfaces within it share their members and points out over the processes of ``torch.distributed``.

    Every process must enter it and make the same calls with the same arguments; each gets the whole result. Without a
    process group, or with one process, nothing changes. It is asked for by name because a call that only some of the
    processes make would otherwise wait for the others forever.

    >>> import torch, thalweg as tw
    >>> X = torch.randn(64, 3); y = X.sum(1, keepdim=True)
    >>> learner = tw.Learner(torch.nn.Linear(3, 1), "sgd", "mse", device="cpu")
    >>> with tw.spread():
    ...     line = tw.surface.line(learner, (X, y), points=5)
    >>> len(line.values)
    5
    """
    token = _ON.set(True)
    try:
        yield
    finally:
        _ON.reset(token)


def spreading(device: torch.device) -> Processes | None:
    """Return the processes to share out over, or None."""
    return Processes.present(device) if _ON.get() else None


def check_unshared(who: str, source: Source) -> None:
    """Raise where the process already reads only its share of the rows.

    Raises:
        ValueError: naming what to do.
    """
    held: Any = source
    if getattr(held, "world_size", 1) > 1:
        raise ValueError(
            f"{who}: the data are shared out over {held.world_size} processes already, so that each would see other "
            "rows; within tw.spread() every process needs all of them: tw.data.stream(…, rank=0, world_size=1)."
        )

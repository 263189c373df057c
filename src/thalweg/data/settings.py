"""The checks that every source of its own batches shares: settings, position and saved state."""

from __future__ import annotations

from typing import Any

from .base import Source

__all__ = ["check_settings", "check_start", "check_state", "count_steps"]


def check_settings(who: str, batch_size: object, seed: object) -> None:
    """Raise unless *batch_size* is an integer >= 1 and *seed* an integer."""
    for name, value in (("batch_size", batch_size), ("seed", seed)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{who}: {name}={value!r} must be an integer, got {type(value).__name__}; pass an int.")
    if isinstance(batch_size, int) and batch_size < 1:
        raise ValueError(f"{who}: batch_size={batch_size} must be >= 1; give the rows of one batch.")


def count_steps(n: int, batch_size: int, drop_last: bool) -> int:
    """Return the batches of an epoch: ⌈n / batch_size⌉, or ⌊n / batch_size⌋ under ``drop_last``.

    Raises:
        ValueError: there would be none.

    >>> count_steps(10, 4, drop_last=False), count_steps(10, 4, drop_last=True)
    (3, 2)
    """
    steps = n // batch_size if drop_last else -(-n // batch_size)
    if not steps:
        raise ValueError(
            f"data.source: drop_last=True leaves no batch, because {n} rows do not fill one of "
            f"batch_size={batch_size}; lower batch_size or keep the last batch."
        )
    return steps


def check_start(source: Source, epoch: int, start: int) -> None:
    """Raise unless (epoch, start) is a position in *source*."""
    steps = source.steps_per_epoch
    if epoch < 0 or start < 0 or (steps is not None and start > steps):
        raise ValueError(
            f"data: batch {start} of epoch {epoch} was asked for, but epochs count from 0 and an epoch has "
            f"{'an unknown number of' if steps is None else steps} batches; give a position inside."
        )


def check_state(own: dict[str, Any], saved: dict[str, Any]) -> None:
    """Raise unless the settings *saved* with a run are *own*.

    Raises:
        ValueError: the first setting that differs, with both values.
    """
    for name, value in own.items():
        if name not in saved:
            raise ValueError(
                f"data: the saved state has no {name!r}, so that it belongs to another kind of data (it holds "
                f"{', '.join(sorted(saved)) or 'nothing'}); resume with the data that the run began with."
            )
        if saved[name] != value:
            raise ValueError(
                f"data: the run began with {name}={saved[name]!r}, but now {name}={value!r}, so that its batches would "
                "be others; resume with the same data and settings, or start a new run."
            )

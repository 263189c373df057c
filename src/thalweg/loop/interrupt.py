"""Ctrl-C and SIGTERM end a training after the present step, with everything kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .run import Run

__all__ = ["Interruption", "interruptible"]


class Interruption:
    """Which signal arrived, if any."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def raise_again(self) -> None:
        """Let the program end as the signal would have ended it."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise SystemExit(128 + self.signal)


@contextmanager
def interruptible(run: Run) -> Iterator[Interruption]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop after this step; a second Ctrl-C stops at once.

    Python delivers signals to the main thread only, so elsewhere this does nothing.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    previous: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if interruption.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        interruption.signal = number
        run.stop(f"{signal.Signals(number).name} received")

    for awaited in (signal.SIGINT, signal.SIGTERM):
        previous[awaited] = signal.signal(awaited, note)
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

"""A bar for what takes more than a second, in a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["Bar"]

_AFTER = 1.0  # seconds before it appears
_REDRAW = 0.2


class Bar:
    """Shows how far the work has come, with its rate and the time that remains.

    Args:
        title: what is being done.
        on: whether to show anything; never shown where standard error is no terminal.
        unit: of the rate.

    Attributes:
        total: units of work in all, or None where it is not known.
    """

    def __init__(self, title: str, on: bool = True, unit: str = "rows·points/s") -> None:
        self.title, self.unit = title, unit
        self.total: float | None = None
        self.done = 0.0
        self._on = on and sys.stderr.isatty()
        self._started = self._drawn = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, units: float) -> None:
        """Count *units* of work (one row at one point, on a surface)."""
        self.done += units
        if not self._on:
            return
        now = time.monotonic()
        if now - self._started < _AFTER or now - self._drawn < _REDRAW:
            return
        self._drawn = now
        if self._bar is None:
            self._open()
        rate = self.done / (now - self._started)
        self._bar.update(self._task, completed=self.done, total=self.total, rate=f"{rate:,.0f} {self.unit}")
        self._bar.refresh()

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self.title, total=self.total, completed=self.done, rate="")

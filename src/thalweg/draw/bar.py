"""A bar for what takes longer than a second: in a terminal, or as one display that a notebook updates in place."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["Bar", "in_notebook"]

_AFTER = 1.0  # seconds before it appears
_REDRAW = 0.25  # seconds between two drawings


def in_notebook() -> bool:
    """Tell whether the program runs in a Jupyter kernel."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class Bar:
    """Shows how far some work has come, with the time that remains; lines scroll above it.

    Where standard error is neither a terminal nor a notebook's there is no bar, and only lines are printed.

    Args:
        title: what is being done.
        on: whether to show anything.
        unit: of the rate that is shown, such as ``"rows/s"``; empty shows counts and no rate.
        after: seconds before it appears.

    Attributes:
        total: units of work in all, or None where it is not known.
        done: units that are done.

    >>> with Bar("counting", on=False) as bar:
    ...     for _ in range(3):
    ...         bar.add(1)
    >>> bar.done
    3.0
    """

    def __init__(self, title: str, on: bool = True, unit: str = "", after: float = _AFTER) -> None:
        self.title, self.unit = title, unit
        self.total: float | None = None
        self.done = 0.0
        self._notebook = on and in_notebook()
        self._terminal = on and not self._notebook and sys.stderr.isatty()
        self._after = after
        self._started = self._drawn = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._display: Any = None
        self._lines: list[str] = []

    def __enter__(self) -> Bar:
        self._started = self._drawn = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._display is not None:  # what is left standing are the lines
            self._show("\n".join(self._lines))

    def add(self, units: float, note: str = "") -> None:
        """Count *units* of work as done."""
        self.update(self.done + units, note)

    @property
    def is_due(self) -> bool:
        """Whether :meth:`update` would draw now; a note that is costly to write may wait until then."""
        if not (self._terminal or self._notebook):
            return False
        now = time.monotonic()
        return now - self._started >= self._after and now - self._drawn >= _REDRAW

    def update(self, done: float, note: str = "", title: str | None = None) -> None:
        """Say that *done* units are done; drawn a few times a second at most."""
        self.done = done
        self.title = self.title if title is None else title
        if not self.is_due:
            return
        self._drawn = time.monotonic()
        if self.unit:
            rate = f"{done / (self._drawn - self._started):,.0f} {self.unit}"
            note = f"{rate}  {note}" if note else rate
        if self._notebook:
            of = f" of {self.total:,.0f}" if self.total else ""
            self._show("\n".join([*self._lines, f"{self.title}  {done:,.0f}{of}  {note}".rstrip()]))
            return
        if self._bar is None:
            self._open()
        self._bar.update(self._task, completed=done, total=self.total, note=note, description=self.title)
        self._bar.refresh()

    def say(self, line: str) -> None:
        """Print a line above the bar; in a notebook it stays in the one display."""
        if self._notebook:
            self._lines.append(line)
            self._show("\n".join(self._lines))
        elif self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn() if self.unit else MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            Remaining(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self.title, total=self.total, completed=self.done, note="")

    def _show(self, text: str) -> None:
        if self._display is None:
            from IPython.display import display

            self._display = display(_Text(text), display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._display.update(_Text(text))


class _Text:
    """Plain text that a notebook shows in place."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

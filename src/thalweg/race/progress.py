"""A bar that shows who is still running, the best so far, and the time left."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import Any

from .runner import Runner

__all__ = ["Progress"]

_AFTER = 1.0  # seconds before it appears
_REDRAW = 0.25
_LINE = 60.0  # seconds between two lines where there is no terminal


class Progress:
    """Shows a race; silent unless *on*."""

    def __init__(self, on: bool) -> None:
        self._on = on
        self._terminal = on and sys.stderr.isatty()
        self._began = self._drawn = self._said = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, runner: Runner) -> None:
        """Show how far *runner* has come, at most a few times a second."""
        now = time.monotonic()
        if not self._on or now - self._began < _AFTER or now - self._drawn < _REDRAW:
            return
        self._drawn = now
        if self._terminal:
            self._redraw(runner)
        elif now - self._said >= _LINE:
            self._said = now
            done, total = work(runner)
            print(f"race: {done:,} of {total:,} updates, {note(runner)}", flush=True)

    def _redraw(self, runner: Runner) -> None:
        done, total = work(runner)
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                auto_refresh=False,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("racing", total=total, note="")
        self._bar.update(self._task, completed=done, total=total, note=note(runner))
        self._bar.refresh()


def work(runner: Runner) -> tuple[int, int]:
    """Return (updates made, updates of the whole race as far as it is known), of all members together."""
    running = {number for lane in runner.lanes for number in lane.numbers}
    done = sum(member.step for member in runner.members)
    ahead, before = 0, 0
    count = len(running)
    for number, rung in enumerate(runner.plan):
        if number >= runner.rung:
            ahead += count * (rung.step - before)
            seeds = max(1, round(len(runner.members) / max(1, runner.settings)))
            count = min(count, rung.keep * seeds)
        before = rung.step
    made = sum(runner.members[number].step - _floor(runner) for number in running)
    return done, max(done, done + ahead - made)


def _floor(runner: Runner) -> int:
    return runner.plan[runner.rung - 1].step if runner.rung else 0


def note(runner: Runner) -> str:
    """Return who is running and the best score so far."""
    running = sum(len(lane) for lane in runner.lanes)
    scores = [
        (member.validations[-1][1], member) for member in runner.members if member.validations and not member.ended
    ]
    finite = [pair for pair in scores if math.isfinite(pair[0])]
    text = f"{running} running"
    if finite:
        score, member = min(finite, key=lambda pair: pair[0])
        text += f", best {score:.4g} ({member.candidate})"
    return text

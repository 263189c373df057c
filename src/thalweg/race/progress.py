"""What the bar of a race says: who is still running, the best so far."""

from __future__ import annotations

import math
import sys
import time

from ..draw import Bar
from .runner import Runner

__all__ = ["Progress", "note", "work"]

_LINE = 60.0  # seconds between two lines where there is no bar


class Progress:
    """Shows a race on a bar; where there is none, a line a minute. Silent unless *on*."""

    def __init__(self, bar: Bar, on: bool) -> None:
        self._bar, self._on = bar, on
        self._said = time.monotonic()

    def show(self, runner: Runner) -> None:
        """Show how far *runner* has come, at most a few times a second."""
        if not self._on:
            return
        if self._bar.is_due:
            done, total = work(runner)
            self._bar.total = total
            self._bar.update(done, note(runner))
        elif not sys.stderr.isatty() and time.monotonic() - self._said >= _LINE:
            self._said = time.monotonic()
            done, total = work(runner)
            self._bar.say(f"race: {done:,} of {total:,} updates, {note(runner)}")


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

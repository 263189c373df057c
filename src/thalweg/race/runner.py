"""The race itself: lanes advanced rung by rung, the diverged and the worst leaving on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .alone import Alone
from .candidate import Candidate
from .choose import Choice, compile_where_it_pays
from .entry import Entry
from .halving import Rung
from .lane import Lane
from .stack import Stack, out_of_memory
from .structure import structure
from .team import Team, teams

__all__ = ["Member", "Runner"]

BLOCK = 128  # updates between two reads of the device
_BETA = 0.98

Array = NDArray[np.float64]


@dataclass
class Member:
    """One training and how it went.

    Attributes:
        number: its place among the candidates.
        candidate: what it was.
        step: updates made.
        ended: ``""`` while it runs, ``"finished"``, ``"left"`` (halving), ``"diverged"``, or ``"stopped"``.
        losses: training losses before each update, parts to be joined.
        validations: (updates made, validation loss).
    """

    number: int
    candidate: Candidate
    step: int = 0
    ended: str = ""
    losses: list[Array] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)

    @property
    def curve(self) -> Array:
        """The training losses, **(step,)**."""
        return np.concatenate(self.losses) if self.losses else np.empty(0)

    @property
    def smoothed(self) -> float:
        """The last value of the training loss's debiased exponential average (β = 0.98)."""
        values = self.curve[-512:]  # what lies further back weighs less than 3e-5
        if not values.size:
            return math.nan
        weights = _BETA ** np.arange(values.size)[::-1]
        return float((weights * values).sum() / weights.sum())

    def score(self, by: str) -> float:
        """Return what the member is ranked by: infinite where it diverged."""
        if self.ended == "diverged":
            return math.inf
        if by == "valid":
            return self.validations[-1][1] if self.validations else math.nan
        return self.smoothed


@dataclass
class Runner:
    """Advances lanes through the rungs.

    Attributes:
        members: all of them, by number.
        lanes: those who still run.
        rung: number of the present rung.
        by: ``"valid"`` or ``"train"``.
        marks: updates after which all are validated.
        deadline: ``time.monotonic()`` at which the race is stopped, or None.
        meet: called by every process of a race that is shared out, after each rung and at the end.
    """

    entry: Entry
    members: list[Member]
    lanes: list[Lane]
    plan: Sequence[Rung]
    by: str
    marks: Sequence[int]
    choice: Choice
    deadline: float | None = None
    rung: int = 0
    stopped: str = ""
    tell: Callable[[Runner], None] = lambda runner: None
    keep: Callable[[Runner], None] = lambda runner: None
    meet: Callable[[Runner], None] = lambda runner: None
    asked_to_stop: Callable[[], str] = lambda: ""
    weights: dict[int, Any] = field(default_factory=dict)

    @property
    def settings(self) -> int:
        """The number of settings."""
        return len({member.candidate.setting for member in self.members})

    def run(self) -> None:
        """Run to the end, or until the deadline or a request to stop."""
        while self.rung < len(self.plan) and not self.stopped:
            rung = self.plan[self.rung]
            for lane in self.lanes:
                self._prepare(lane, rung.step)
            for together in teams(self.lanes):
                self._to(together, rung.step)
                if self.stopped:
                    break
            self.meet(self)
            if not self.stopped:
                self._close(rung)
                self.rung += 1
        for lane in self.lanes:
            for row, number in enumerate(lane.numbers):
                self.members[number].ended = "stopped" if self.stopped else "finished"
                self.weights[number] = lane.weights(row)
        self.meet(self)

    def _prepare(self, lane: Lane, target: int) -> None:
        """Have a lane's step compiled where that pays for the updates up to *target*."""
        if lane.step < target and len(lane):
            seconds = self.choice.seconds.get((structure(lane.candidates[0].rule), lane.candidates[0].order is None))
            compile_where_it_pays(lane, target - lane.step, self.choice, seconds)

    def _to(self, lane: Lane | Team, target: int) -> None:
        """Advance a lane, or some together, to *target* updates, validating at the marks."""
        queue: list[Lane | Team] = [lane]
        while queue:
            here = queue[0]
            if not len(here) or here.step >= target:
                queue.pop(0)
                continue
            mark = min([m for m in (*self.marks, target) if m > here.step], default=target)
            try:
                self._block(here, min(BLOCK, mark - here.step))
            except (RuntimeError, MemoryError) as error:
                if isinstance(here, Team) and out_of_memory(error):
                    queue[:1] = here.stacks
                    continue
                if not (isinstance(here, Stack) and len(here) > 1 and out_of_memory(error)):
                    raise
                queue[:1] = self._split(here)
                continue
            if len(here) and here.step == mark:
                self._validate(here)
            self.tell(self)
            self.keep(self)
            self.stopped = self.asked_to_stop() or self._late()
            if self.stopped:
                return

    def _late(self) -> str:
        return "the time was up" if self.deadline is not None and time.monotonic() > self.deadline else ""

    def _split(self, stack: Stack) -> list[Lane]:
        """Replace a stack for which memory did not suffice by its halves."""
        halves = list(stack.halves())
        place = next(i for i, lane in enumerate(self.lanes) if lane is stack)
        self.lanes[place : place + 1] = halves
        self.choice.note(f"memory did not suffice for {len(stack)} members at once: chunks of {len(halves[0])}")
        return [*halves]

    def _block(self, lane: Lane | Team, count: int) -> None:
        losses = lane.advance(count)
        finite = np.isfinite(losses)
        gone = []
        for row, number in enumerate(lane.numbers):
            member = self.members[number]
            column = losses[:, row]
            if finite[:, row].all():
                member.losses.append(column.astype(np.float64))
                member.step = lane.step
            else:
                first = int(np.flatnonzero(~finite[:, row])[0])
                member.losses.append(column[: first + 1].astype(np.float64))
                member.step = lane.step - len(losses) + first + 1
                gone.append(row)
        self._leave(lane, gone, "diverged")

    def _leave(self, lane: Lane | Team, rows: Sequence[int], how: str) -> None:
        if not rows:
            return
        for row in rows:
            self.members[lane.numbers[row]].ended = how
            if how == "left":
                self.weights[lane.numbers[row]] = lane.weights(row)
        gone = set(rows)
        lane.keep([row for row in range(len(lane)) if row not in gone])

    def _validate(self, lane: Lane | Team) -> None:
        if self.entry.valid is None:
            return
        scores = lane.scores()
        gone = []
        for row, (number, score) in enumerate(zip(lane.numbers, scores.tolist(), strict=True)):
            self.members[number].validations.append((lane.step, score))
            if not math.isfinite(score):
                gone.append(row)
        self._leave(lane, gone, "diverged")

    def _close(self, rung: Rung) -> None:
        """After a rung: the worst settings leave, and what is left is packed together."""
        self.lanes = [lane for lane in self.lanes if len(lane)]
        alive = {member.number for member in self.members if not member.ended}
        settings: dict[Any, list[int]] = {}
        for member in self.members:
            settings.setdefault(member.candidate.setting, []).append(member.number)
        running = {setting: numbers for setting, numbers in settings.items() if not alive.isdisjoint(numbers)}
        if len(running) > rung.keep:
            ranked = sorted(running, key=lambda setting: self._rank(running[setting]))
            staying = {number for setting in ranked[: rung.keep] for number in running[setting]}
            for lane in self.lanes:
                self._leave(lane, [row for row, n in enumerate(lane.numbers) if n not in staying], "left")
        self.lanes = _packed([lane for lane in self.lanes if len(lane)])

    def _rank(self, numbers: Sequence[int]) -> tuple[int, float, int]:
        scores = [self.members[number].score(self.by) for number in numbers]
        finite = [score for score in scores if math.isfinite(score)]
        return len(scores) - len(finite), float(np.mean(finite)) if finite else math.inf, numbers[0]


def _packed(lanes: list[Lane]) -> list[Lane]:
    """Return the lanes with stacks of one structure joined, up to the size that the largest had."""
    kept: list[Lane] = []
    for lane in lanes:
        if isinstance(lane, Alone) or not isinstance(lane, Stack):
            kept.append(lane)
            continue
        key = (structure(lane.candidates[0].rule), lane.candidates[0].order is None)
        for other in kept:
            if (
                isinstance(other, Stack)
                and (structure(other.candidates[0].rule), other.candidates[0].order is None) == key
                and other.step == lane.step
                and len(other) + len(lane) <= max(other.most, lane.most)
            ):
                other.most = max(other.most, lane.most)
                other.join([lane])
                break
        else:
            kept.append(lane)
    return kept

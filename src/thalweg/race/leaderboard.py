"""Who won, by how much, and who cannot be told apart from the winner."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .candidate import Candidate, Setting
from .paired import FEWEST_SEEDS, holm, paired_p
from .runner import Member

__all__ = ["Standing", "standings"]

_LEVEL = 0.05


@dataclass(frozen=True)
class Standing:
    """One setting's line: all seeds together.

    Attributes:
        place: from 1; settings that went further stand before those that left earlier.
        candidate: the setting's first member.
        numbers: members, one per seed.
        mean: of the final losses over the seeds that did not diverge; NaN where all did.
        spread: their standard deviation (n − 1); NaN for one seed.
        step: updates made.
        diverged: seeds that diverged.
        verdict: ``"best"``, ``"worse"``, ``"cannot be told apart"``, ``"undecided"`` (too few seeds), ``"left"``,
            ``"diverged"`` or ``"stopped"``.
        p: of the paired test against the best, corrected for being many; None where none was made.
    """

    place: int
    candidate: Candidate
    numbers: tuple[int, ...]
    mean: float
    spread: float
    step: int
    diverged: int
    verdict: str
    p: float | None = None

    @property
    def seeds(self) -> int:
        """The number of members."""
        return len(self.numbers)


def standings(members: Sequence[Member], by: str) -> list[Standing]:
    """Return the settings from the best to the worst.

    Settings that finished are compared with the best of them by a paired test over seeds (same seed: same initial
    weights, same batches), of the logarithms where all losses are positive, corrected for the number of comparisons
    after Holm; below three seeds in common they are undecided. The best is the best of many: its own mean is too good
    by as much as luck had a part in its place.
    """
    settings: dict[Setting, list[Member]] = {}
    for member in members:
        settings.setdefault(member.candidate.setting, []).append(member)
    lines = [_Line(group, by) for group in settings.values()]
    lines.sort(key=lambda line: line.key)
    best = lines[0]
    compared = [line for line in lines[1:] if line.finished and best.finished]
    raw = [_p(best, line) for line in compared]
    tested = [(line, p) for line, p in zip(compared, raw, strict=True) if p is not None]
    corrected = dict(zip((id(line) for line, _ in tested), holm([p for _, p in tested]), strict=True))
    found = []
    for place, line in enumerate(lines, start=1):
        p = corrected.get(id(line))
        found.append(
            Standing(
                place=place,
                candidate=line.members[0].candidate,
                numbers=tuple(member.number for member in line.members),
                mean=line.mean,
                spread=line.spread,
                step=line.step,
                diverged=line.diverged,
                verdict=_verdict(line, best, p),
                p=p,
            )
        )
    return found


class _Line:
    def __init__(self, members: list[Member], by: str) -> None:
        self.members = members
        self.scores = {(m.candidate.seed, m.candidate.order): m.score(by) for m in members}
        finite = [score for score in self.scores.values() if math.isfinite(score)]
        self.diverged = sum(member.ended == "diverged" for member in members)
        self.mean = statistics.fmean(finite) if finite else math.nan
        self.spread = statistics.stdev(finite) if len(finite) > 1 else math.nan
        self.step = max(member.step for member in members)
        ended = {member.ended for member in members} - {"diverged"}
        self.ended = ended.pop() if ended else "diverged"
        self.finished = self.ended in ("finished", "stopped") and not self.diverged

    @property
    def key(self) -> tuple[Any, ...]:
        whole = self.ended in ("finished", "stopped")
        return (
            self.ended == "diverged",
            not whole,
            -self.step if not whole else 0,
            self.diverged,
            self.mean if math.isfinite(self.mean) else math.inf,
            self.members[0].number,
        )


def _p(best: _Line, other: _Line) -> float | None:
    common = [key for key in best.scores if key in other.scores]
    a, b = [best.scores[key] for key in common], [other.scores[key] for key in common]
    if min([*a, *b], default=0.0) > 0:  # losses spread by factors: their logarithms by amounts of one size
        a, b = [math.log(value) for value in a], [math.log(value) for value in b]
    return paired_p(a, b)


def _verdict(line: _Line, best: _Line, p: float | None) -> str:
    if line.ended in ("diverged", "left"):
        return line.ended
    if line is best:
        return "best" if line.ended == "finished" else "stopped"
    if line.diverged:
        return f"{line.diverged} of {len(line.members)} diverged"
    if line.ended == "stopped":
        return "stopped"
    if p is None:
        return f"undecided: fewer than {FEWEST_SEEDS} seeds"
    return "worse" if p < _LEVEL else "cannot be told apart"

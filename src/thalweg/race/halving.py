"""Successive halving: how many settings go how far."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import check_number

__all__ = ["Halving", "Rung", "rungs"]


@dataclass(frozen=True)
class Rung:
    """Train to *step* updates in all, then keep the *keep* best settings."""

    step: int
    keep: int


@dataclass(frozen=True)
class Halving:
    r"""Successive halving: after each rung the best :math:`1/\eta` of the settings go on, :math:`\eta` times as far.

    All seeds of a setting go together; settings are ranked by their mean over seeds, those with a diverged seed last.

    Args:
        factor: :math:`\eta > 1`.
        rungs: how many, the last one included, >= 2; None: as many as settings and updates allow.

    Source: Jamieson and Talwalkar, *Non-stochastic Best Arm Identification and Hyperparameter Optimization*, AISTATS
    2016, algorithm 1 (with :math:`\eta` as in Li et al., *Hyperband*, JMLR 2018).

    >>> rungs(9, 90, Halving(3))
    [Rung(step=10, keep=3), Rung(step=30, keep=1), Rung(step=90, keep=1)]
    """

    factor: float = 3.0
    rungs: int | None = None

    def __post_init__(self) -> None:
        check_number("race: Halving", "factor", self.factor, low=1.0, low_open=True, advice="3 is usual")
        if self.rungs is not None and (isinstance(self.rungs, bool) or not isinstance(self.rungs, int)):
            raise TypeError(f"race: Halving: rungs={self.rungs!r} must be a whole number or None.")
        if self.rungs is not None:
            check_number("race: Halving", "rungs", self.rungs, low=2, advice="one rung is no halving: halving=None")


def rungs(settings: int, total: int, halving: Halving | None) -> list[Rung]:
    """Return the rungs for a number of settings and updates; a single one without halving.

    Raises:
        ValueError: the budget is too small: a rung of less than one update, or no update at all.
    """
    if total < 1:
        raise ValueError(f"race: a budget of {total} updates is too small for one rung; give more epochs or steps.")
    if halving is None:
        return [Rung(total, settings)]
    factor = halving.factor
    count = halving.rungs
    if count is None:
        by_settings = math.floor(math.log(settings, factor) + 1e-9) if settings > 1 else 0
        by_steps = math.floor(math.log(total, factor) + 1e-9)
        count = 1 + min(by_settings, by_steps)
        if settings > 1 and by_settings and not by_steps:
            raise ValueError(
                f"race: {total} updates are too few for one rung of halving by {factor:g}: the first would have "
                f"{total / factor:.2g}; give at least {math.ceil(factor)} updates, or halving=None."
            )
    elif total / factor ** (count - 1) < 1:
        raise ValueError(
            f"race: {count} rungs by a factor of {factor:g} within {total} updates are too many: the first would have "
            f"{total / factor ** (count - 1):.2g} updates; give a longer budget, or fewer rungs."
        )
    found: list[Rung] = []
    for place in range(count):
        step = total if place == count - 1 else max(1, round(total / factor ** (count - 1 - place)))
        last = place == count - 1
        keep = max(1, math.ceil(settings / factor ** (place + 1) - 1e-9))
        found.append(Rung(step, found[-1].keep if last and found else keep))
    return found

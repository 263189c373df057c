"""Races: many trainings of one model at once, as one stacked computation.

The package can be called: ``tw.race(model, data, valid, tw.race.grid(...))`` is :func:`thalweg.race.race`.
"""

import sys as _sys
from types import ModuleType as _ModuleType
from typing import Any as _Any

from .candidate import Candidate, Setting
from .counter_hook import CounterMasks
from .ensemble import Ensemble
from .grid import grid, linear, log
from .halving import Halving
from .leaderboard import Standing
from .race import race
from .result import RaceResult
from .runner import Member

__all__ = [
    "Candidate",
    "CounterMasks",
    "Ensemble",
    "Halving",
    "Member",
    "RaceResult",
    "Setting",
    "Standing",
    "grid",
    "linear",
    "log",
    "race",
]


class _Callable(_ModuleType):
    """A module that is called like its function.

    A function with attributes in the package's place would be replaced by the package itself as soon as anybody imports
    one of its modules; a class of its own for the module object is Python's way to have both.
    """

    def __call__(self, *args: _Any, **kwargs: _Any) -> RaceResult:
        """Race; see :func:`thalweg.race.race`."""
        return race(*args, **kwargs)


_sys.modules[__name__].__class__ = _Callable

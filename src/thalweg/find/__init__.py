"""The learning-rate finder: a sweep that leaves no trace, suggestions with their noise, short trainings that decide."""

from .find import find
from .finding import Finding
from .parts import Parts
from .ranges import rate_range
from .suggest import Suggestions, suggest
from .sweep import Sweep, sweep
from .trace import Draws, Snapshot, no_trace
from .verify import Trial, verify

__all__ = [
    "Draws",
    "Finding",
    "Parts",
    "Snapshot",
    "Suggestions",
    "Sweep",
    "Trial",
    "find",
    "no_trace",
    "rate_range",
    "suggest",
    "sweep",
    "verify",
]

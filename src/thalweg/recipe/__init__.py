"""Recipes: training runs as plain data (TOML), and back."""

from .embedded import embedded, read_embedded
from .fitting import check_fit
from .load import load
from .names import NAMES, Names, NameTable
from .opening import opening
from .parts import Parts
from .places import is_refusal
from .race import candidates_of, race, winner_of
from .recipe import Recipe
from .run import resume, run
from .sections.train import Train
from .summary import RunSummary
from .verify import Verification, verify

__all__ = [
    "NAMES",
    "NameTable",
    "Names",
    "Parts",
    "Recipe",
    "RunSummary",
    "Train",
    "Verification",
    "candidates_of",
    "check_fit",
    "embedded",
    "is_refusal",
    "load",
    "opening",
    "race",
    "read_embedded",
    "resume",
    "run",
    "verify",
    "winner_of",
]

"""The facade: a model with everything that training needs."""

from .compile import compile
from .learner import Learner
from .summary import Summary, summarise

__all__ = ["Learner", "Summary", "compile", "summarise"]

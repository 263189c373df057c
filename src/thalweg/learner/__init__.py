"""The facade: a model with everything that training needs."""

from .compile import compile
from .learner import Learner
from .replace_head import Replaced, replace_head
from .summary import Summary, summarise

__all__ = ["Learner", "Replaced", "Summary", "compile", "replace_head", "summarise"]

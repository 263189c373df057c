"""The objective: a model and a loss as a function of the parameters."""

from .objective import Objective, logits_of

__all__ = ["Objective", "logits_of"]

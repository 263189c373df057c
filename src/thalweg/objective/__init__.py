"""The objective: a model and a loss as a function of the parameters."""

from .head import Head, find_head
from .inputs import Inputs, Parts
from .logits import logits_of
from .objective import Objective
from .shift import follow_model, own_loss_shifts

__all__ = [
    "Head",
    "Inputs",
    "Objective",
    "Parts",
    "find_head",
    "follow_model",
    "logits_of",
    "own_loss_shifts",
]

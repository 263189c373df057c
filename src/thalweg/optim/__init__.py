"""Update rules: each optimizer's equation, written once."""

from .adam import Adam
from .adamw import AdamW
from .base import Hyper, Rule, State, bind_shell
from .names import NAMES, from_dict, make, to_dict
from .sgd import SGD

__all__ = ["NAMES", "SGD", "Adam", "AdamW", "Hyper", "Rule", "State", "bind_shell", "from_dict", "make", "to_dict"]

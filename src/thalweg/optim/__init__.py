"""Update rules: each optimizer's equation, written once."""

from thalweg.optim.adadelta import Adadelta
from thalweg.optim.adafactor import Adafactor
from thalweg.optim.adagrad import Adagrad
from thalweg.optim.adam import Adam
from thalweg.optim.adamax import Adamax
from thalweg.optim.adamw import AdamW
from thalweg.optim.averaged import Averaged
from thalweg.optim.base import Hyper, Rule, State, bind_shell
from thalweg.optim.foreign import is_foreign
from thalweg.optim.lion import Lion
from thalweg.optim.lookahead import Lookahead
from thalweg.optim.muon import Muon
from thalweg.optim.nadam import NAdam
from thalweg.optim.names import ALIASES, NAMES, from_dict, make, to_dict
from thalweg.optim.radam import RAdam
from thalweg.optim.rmsprop import RMSprop
from thalweg.optim.schedule_free_adamw import ScheduleFreeAdamW
from thalweg.optim.schedule_free_sgd import ScheduleFreeSGD
from thalweg.optim.sgd import SGD
from thalweg.optim.wrapper import Wrapper

__all__ = [
    "ALIASES",
    "NAMES",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Averaged",
    "Hyper",
    "Lion",
    "Lookahead",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rule",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "State",
    "Wrapper",
    "bind_shell",
    "from_dict",
    "is_foreign",
    "make",
    "to_dict",
]

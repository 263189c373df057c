"""Schedules: a hyperparameter as a closed form of the step."""

from .as_torch import ScheduleLR, as_torch
from .base import Schedule
from .constant import Constant
from .controller import Controller
from .cosine import Cosine
from .cosine_restarts import CosineRestarts
from .curve import Curve
from .cyclic import Cyclic, CyclicMomentum
from .duration import Clock, Duration
from .exponential import Exponential
from .from_torch import TorchDriver, TorchSchedule, from_torch
from .function import Function
from .hyper import HYPERPARAMETERS, by_hyper, has, read, resolve, write
from .inverse_sqrt import InverseSqrt
from .join import Join
from .lasting import Lasting
from .linear import Linear
from .multi_step import MultiStep
from .names import NAMES, from_dict, make, to_dict
from .one_cycle import OneCycle, OneCycleMomentum
from .plateau import ReduceOnPlateau
from .polynomial import Polynomial
from .product import Product
from .step import Step
from .warmup import Warmup
from .wsd import WarmupStableDecay

__all__ = [
    "HYPERPARAMETERS",
    "NAMES",
    "Clock",
    "Constant",
    "Controller",
    "Cosine",
    "CosineRestarts",
    "Curve",
    "Cyclic",
    "CyclicMomentum",
    "Duration",
    "Exponential",
    "Function",
    "InverseSqrt",
    "Join",
    "Lasting",
    "Linear",
    "MultiStep",
    "OneCycle",
    "OneCycleMomentum",
    "Polynomial",
    "Product",
    "ReduceOnPlateau",
    "Schedule",
    "ScheduleLR",
    "Step",
    "TorchDriver",
    "TorchSchedule",
    "Warmup",
    "WarmupStableDecay",
    "as_torch",
    "by_hyper",
    "from_dict",
    "from_torch",
    "has",
    "make",
    "read",
    "resolve",
    "to_dict",
    "write",
]

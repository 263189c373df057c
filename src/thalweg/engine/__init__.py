"""Executions of an update rule, and the ``torch.optim.Optimizer`` around them."""

from ..optim import bind_shell
from .base import Engine
from .clip import clip_coefficient, total_norm
from .native import NativeEngine
from .optimizer import RuleOptimizer, choose_engine
from .reference import ReferenceEngine

bind_shell(RuleOptimizer)

__all__ = [
    "Engine",
    "NativeEngine",
    "ReferenceEngine",
    "RuleOptimizer",
    "choose_engine",
    "clip_coefficient",
    "total_norm",
]

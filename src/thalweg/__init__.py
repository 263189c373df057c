"""Thalweg: the optimisation side of training PyTorch models, done right and seen.

>>> import torch, thalweg as tw
>>> _ = torch.manual_seed(0)
>>> X = torch.randn(256, 4); y = (X[:, 0] > 0).long()
>>> learner = tw.compile(torch.nn.Linear(4, 2), optimizer="adam", lr=0.1, loss="cross_entropy", seed=0)
>>> history = learner.fit((X, y), epochs=5, verbose=False)
>>> history.history["loss"][-1] < 0.3
True
"""

import gc as _gc
from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

# Loading modules leaves no garbage, and each full collection on the way walks over everything that torch has loaded: a
# tenth of the time of this import.
_collects = _gc.isenabled()
_gc.disable()
try:
    from . import checkpoint, data, draw, engine, loop, loss, metric, objective, optim, schedule
    from .learner import Learner, Summary, compile, replace_head, summarise
    from .loop import EarlyStopping, Guard, History, Hook, LayerGroup, Plan, spread
    from .loss import L1, L2
finally:
    if _collects:
        _gc.enable()

if _TYPE_CHECKING:
    from . import find, linear, presets, race, recipe, recommend, report, surface

__version__ = _version("thalweg")

__all__ = [
    "L1",
    "L2",
    "EarlyStopping",
    "Guard",
    "History",
    "Hook",
    "LayerGroup",
    "Learner",
    "Plan",
    "Summary",
    "checkpoint",
    "compile",
    "data",
    "draw",
    "engine",
    "find",
    "linear",
    "loop",
    "loss",
    "metric",
    "objective",
    "optim",
    "presets",
    "race",
    "recipe",
    "recommend",
    "replace_head",
    "report",
    "schedule",
    "spread",
    "summarise",
    "surface",
]

_WHEN_USED = ("find", "linear", "presets", "race", "recipe", "recommend", "report", "surface")


def __getattr__(name: str) -> _Any:
    """Import what not every program needs when it is first used."""
    if name in _WHEN_USED:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

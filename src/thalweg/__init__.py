"""Thalweg: the optimisation side of training PyTorch models, done right and seen.

>>> import torch, thalweg as tw
>>> _ = torch.manual_seed(0)
>>> X = torch.randn(256, 4); y = (X[:, 0] > 0).long()
>>> learner = tw.compile(torch.nn.Linear(4, 2), optimizer="adam", lr=0.1, loss="cross_entropy", seed=0)
>>> history = learner.fit((X, y), epochs=5, verbose=False)
>>> history.history["loss"][-1] < 0.3
True
"""

from importlib.metadata import version as _version

from . import checkpoint, data, draw, engine, find, loop, loss, metric, objective, optim, schedule, surface
from .learner import Learner, Summary, compile, replace_head, summarise
from .loop import EarlyStopping, History, Hook, LayerGroup, Plan
from .loss import L1, L2

__version__ = _version("thalweg")

__all__ = [
    "L1",
    "L2",
    "EarlyStopping",
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
    "loop",
    "loss",
    "metric",
    "objective",
    "optim",
    "replace_head",
    "schedule",
    "summarise",
    "surface",
]

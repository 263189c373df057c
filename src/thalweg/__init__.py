"""Thalweg: the optimisation side of training PyTorch models, done right and seen."""

from . import engine, optim

__all__ = ["engine", "optim"]

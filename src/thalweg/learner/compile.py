"""Keras' word for making a learner."""

from __future__ import annotations

from typing import Any

from torch import nn

from .learner import Learner

__all__ = ["compile"]


def compile(model: nn.Module, *args: Any, **kwargs: Any) -> Learner:
    """Return :class:`thalweg.Learner` of the same arguments.

    >>> import torch, thalweg as tw
    >>> tw.compile(torch.nn.Linear(2, 1), optimizer="sgd", lr=0.1, loss="mse", device="cpu")
    Learner(Linear(...), optimizer=SGD(lr=0.1, ...), loss=MSE(), device='cpu')
    """
    return Learner(model, *args, **kwargs)

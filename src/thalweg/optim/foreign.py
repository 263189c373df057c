"""Optimizers that are torch's and not ours."""

from __future__ import annotations

import functools

import torch

__all__ = ["is_foreign"]


def is_foreign(given: object) -> bool:
    """Whether *given* is a torch optimizer class, a ``functools.partial`` of one, or an instance, to be used as it is.

    >>> is_foreign(torch.optim.LBFGS), is_foreign(functools.partial(torch.optim.SGD, lr=0.1)), is_foreign("adamw")
    (True, True, False)
    """
    if isinstance(given, functools.partial):
        given = given.func
    kind = given if isinstance(given, type) else type(given)
    return issubclass(kind, torch.optim.Optimizer)

"""Scalars that a compiler must compute once, not once per element."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from thalweg.optim.materialise import materialise_with

__all__ = ["kept_scalars"]


def _stored(scalar: Tensor) -> Tensor:
    """Return *scalar* through a scan of one element, which the inductor stores instead of inlining.

    A 0-dim bias correction is otherwise evaluated again, ``exp`` and ``log`` in float64, for every element of every
    parameter that it multiplies (torch 2.13: more than half of a small step). In a stack there is one per member.
    """
    return torch.cumsum(scalar.reshape(-1, 1), 1).reshape(scalar.shape)


@contextmanager
def kept_scalars() -> Iterator[None]:
    """Have rules' per-step scalars stored while a graph is traced."""
    with materialise_with(_stored):
        yield

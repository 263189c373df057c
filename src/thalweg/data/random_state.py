"""The host's random generators that a loader may draw from, as flat plain data."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["capture", "restore", "untouched"]


def capture(generators: Sequence[torch.Generator] = ()) -> dict[str, Any]:
    """Return the states of torch's CPU generator, Python's, NumPy's global one and *generators*.

    Returns:
        name → uint8 or int64 tensor, int, float or None.
    """
    version, words, pending = random.getstate()
    # NumPy's global generator is old, but users' data sets and samplers draw from it.
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([version, *words]),
        "python.gauss": pending,
        "numpy": torch.from_numpy(np.array([*keys, position, has_gauss], dtype=np.int64)),
        "numpy.gauss": float(gauss),
    }
    return state | {f"generator.{i}": generator.get_state() for i, generator in enumerate(generators)}


def restore(state: dict[str, Any], generators: Sequence[torch.Generator] = ()) -> None:
    """Set the generators back to a `capture`."""
    torch.set_rng_state(state["torch"])
    version, *words = state["python"].tolist()
    random.setstate((version, tuple(words), state["python.gauss"]))
    *keys, position, has_gauss = state["numpy"].tolist()
    words_of_numpy = np.array(keys, dtype=np.uint32)
    np.random.set_state(("MT19937", words_of_numpy, position, has_gauss, state["numpy.gauss"]))  # noqa: NPY002
    for i, generator in enumerate(generators):
        generator.set_state(state[f"generator.{i}"])


@contextmanager
def untouched(generators: Sequence[torch.Generator] = ()) -> Iterator[None]:
    """Set every generator back on leaving, also after an exception.

    >>> _ = torch.manual_seed(0)
    >>> with untouched():
    ...     first = torch.rand(1)
    >>> bool(first == torch.rand(1))
    True
    """
    before = capture(generators)
    try:
        yield
    finally:
        restore(before, generators)

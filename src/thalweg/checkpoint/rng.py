"""Every random generator that training draws from, as tensors and plain data."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["restore_rng", "snapshot_rng"]


def snapshot_rng() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the states of torch's (CPU, CUDA, MPS), NumPy's global and Python's generator.

    Returns:
        (tensors, plain): uint8/int64 tensors by name, and JSON-able data.

    >>> state = snapshot_rng()
    >>> first = torch.rand(2).tolist()
    >>> restore_rng(*state)
    >>> torch.rand(2).tolist() == first
    True
    """
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            tensors[f"cuda.{index}"] = torch.cuda.get_rng_state(index)
    if torch.backends.mps.is_available():
        tensors["mps"] = torch.mps.get_rng_state()
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    tensors["numpy"] = torch.from_numpy(np.asarray(keys, dtype=np.int64).copy())
    version, words, pending = random.getstate()
    plain = {
        "numpy": [str(kind), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(words), pending],
    }
    return tensors, plain


def restore_rng(tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Set every generator named in the snapshot back to it."""
    torch.set_rng_state(tensors["torch"].cpu())
    for name, state in tensors.items():
        if name.startswith("cuda.") and torch.cuda.is_available():
            torch.cuda.set_rng_state(state.cpu(), int(name.removeprefix("cuda.")))
    if "mps" in tensors and torch.backends.mps.is_available():
        torch.mps.set_rng_state(tensors["mps"].cpu())
    kind, position, has_gauss, gauss = plain["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    version, words, pending = plain["python"]
    random.setstate((version, tuple(words), pending))

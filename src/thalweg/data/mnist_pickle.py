"""The file mnist.pkl.gz of the Theano tutorials: MNIST already split, images scaled to [0, 1]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .array_pickle import Array, read_array_pickle

__all__ = ["read_mnist_pickle"]

Pair = tuple[Array, Array]


def read_mnist_pickle(path: str | Path) -> tuple[Pair, Pair, Pair]:
    """Return ((train images, labels), (valid images, labels), (test images, labels)).

    Read by `read_array_pickle`, which runs nothing of the file.

    Args:
        path: ``mnist.pkl.gz``, or the same unpacked.

    Returns:
        For each part images **(n, d)** as the file holds them (float32 in [0, 1], d = 784), and labels **(n,)**.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds anything else than three pairs of arrays of equal length, or is damaged.
    """
    parts: Any = read_array_pickle(path)
    if not isinstance(parts, (tuple, list)) or len(parts) != 3:
        raise _not_mnist(path, f"{len(parts)} parts" if isinstance(parts, (tuple, list)) else type(parts).__name__)
    pairs: list[Pair] = []
    for name, part in zip(("train", "valid", "test"), parts, strict=True):
        if not isinstance(part, (tuple, list)) or len(part) != 2:
            raise _not_mnist(path, f"a {name} part that is no pair")
        images, labels = part
        if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
            raise _not_mnist(path, f"a {name} part without arrays")
        if images.ndim != 2 or labels.shape != images.shape[:1]:
            raise _not_mnist(path, f"a {name} part of shapes {images.shape} and {labels.shape}")
        pairs.append((images, labels))
    return pairs[0], pairs[1], pairs[2]


def _not_mnist(path: str | Path, found: str) -> ValueError:
    return ValueError(
        f"read_mnist_pickle: {path} holds {found}, but mnist.pkl holds train, valid and test, each a pair of images "
        "(n, d) and labels (n,); check the path."
    )

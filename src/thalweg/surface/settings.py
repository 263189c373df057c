"""Settings that lines and planes share, checked in one place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils._pytree import tree_map

from ..errors import check_number, unknown_name
from .cut import Cut
from .landscape import Landscape
from .partial import Partial
from .statistics import normalisation_layers

__all__ = [
    "batch_statistics",
    "check_batches",
    "computation_key",
    "coordinates_of",
    "partial_of",
    "statistics_said",
]

Array = NDArray[np.float64]


def coordinates_of(
    who: str, name: str, points: int, given: ArrayLike | None, low: float, high: float, scale: float = 1.0
) -> Array:
    """Return the coordinates, **(n,)** float64: *given*, or *points* equally spaced ones, both ends included.

    A symmetric range is exactly symmetric, with an exact 0 in the middle of an odd number; one point is the middle.

    Raises:
        ValueError: no points, coordinates that are not one-dimensional, finite and rising, or a scale <= 0.

    >>> coordinates_of("line", "alphas", 5, None, -1.0, 1.0, 0.3)
    array([-0.3 , -0.15,  0.  ,  0.15,  0.3 ])
    """
    check_number(who, "scale", scale, low=0.0, low_open=True, high=float("inf"), high_open=True)
    if given is not None:
        array = np.asarray(given, dtype=np.float64)
        if array.ndim != 1 or not array.size or not np.isfinite(array).all() or (np.diff(array) <= 0).any():
            raise ValueError(
                f"{who}: {name} must be finite numbers in rising order, shape (n,); got {array.tolist()!r}."
            )
        return array
    if isinstance(points, bool) or not isinstance(points, int) or points < 1:
        raise ValueError(f"{who}: points={points!r} must be a whole number >= 1; choose how many points to compute.")
    if points == 1:
        return np.array([0.5 * (low + high) * scale])
    share = (2 * np.arange(points) - (points - 1)) / (points - 1)
    found: Array = (0.5 * (low + high) + 0.5 * (high - low) * share) * scale
    return found


def check_batches(who: str, batches: int | None, batch_size: int) -> None:
    """Raise unless both are positive whole numbers (*batches* may be None)."""
    for name, value in (("batches", batches), ("batch_size", batch_size)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{who}: {name}={value!r} must be a whole number >= 1.")


def batch_statistics(who: str, land: Landscape, batch_norm: str) -> str:
    """Return ``"frozen"``, ``"reestimated"``, or ``"none"`` where the model has no such layers."""
    known = ("frozen", "reestimated")
    if batch_norm not in known:
        raise unknown_name(who, "batch_norm", batch_norm, known)
    return batch_norm if normalisation_layers(land.module) else "none"


def statistics_said(statistics: str, cut: Cut) -> str:
    """Return what a figure says about batch statistics."""
    return "interpolated" if statistics == "frozen" and cut.moving_buffers else statistics


@contextmanager
def partial_of(
    resume: Path | str | None, land: Landscape, cut: Cut, coordinates: Array, batches: int | None, statistics: str
) -> Iterator[Partial | None]:
    """Hold what an interrupted computation left in *resume*, write there on an interruption, remove it at the end."""
    if resume is None:
        yield None
        return
    partial = Partial(Path(resume), computation_key(land, cut, coordinates, batches, statistics))
    try:
        yield partial
    except BaseException:
        partial.write()
        raise
    partial.remove()


def computation_key(land: Landscape, cut: Cut, coordinates: Array, batches: int | None, statistics: str) -> str:
    """Return a digest of everything that decides the values: weights, directions, coordinates, data, loss."""
    digest = hashlib.sha256(repr((batches, statistics, land.source.n, land.objective.loss)).encode())
    digest.update(np.ascontiguousarray(coordinates).tobytes())
    held = [cut.center, *cut.directions, cut.buffers, *cut.buffer_directions]
    first: list[torch.Tensor] = []
    tree_map(lambda v: first.append(v) if isinstance(v, torch.Tensor) else None, land.source.first())
    for tensor in [*(t for weights in held for t in weights.values()), *first]:
        digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

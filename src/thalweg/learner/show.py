"""A batch one can look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from thalweg.data import Source, split
from thalweg.draw import batch_table, image_grid

__all__ = ["show_batch"]

_SQUARES = {28 * 28: (28, 28), 8 * 8: (8, 8), 32 * 32: (32, 32), 16 * 16: (16, 16)}


def show_batch(source: Source, count: int) -> Any:
    """Return a figure for images, (B, H, W), (B, C, H, W) or flat squares, and a table for everything else."""
    parts = split(source.first())
    inputs = parts.args[0] if parts.args else next(iter(parts.kwargs.values()))
    target = parts.target
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        pixels = inputs[:count].detach().cpu()
        labels = target[:count].tolist() if isinstance(target, Tensor) and target.ndim == 1 else None
        if pixels.ndim == 2 and pixels.shape[1] in _SQUARES:
            pixels = pixels.reshape(-1, *_SQUARES[pixels.shape[1]])
        if pixels.ndim in (3, 4):
            return image_grid(pixels.numpy(), labels)
    columns: dict[str, Any] = {}
    named = dict(parts.kwargs) or {f"x{i}" if len(parts.args) > 1 else "x": value for i, value in enumerate(parts.args)}
    for name, value in [*named.items(), ("y", target)]:
        if isinstance(value, Tensor):
            columns.update(_columns(name, value[:count].detach().cpu().numpy()))
    return batch_table(columns, count)


def _columns(name: str, values: np.ndarray[Any, Any]) -> dict[str, Any]:
    if values.ndim <= 1:
        return {name: values.tolist()}
    flat = values.reshape(len(values), -1)
    return {f"{name}[{i}]": flat[:, i].tolist() for i in range(min(flat.shape[1], 12))}

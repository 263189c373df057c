"""Batch statistics at points of a line or a plane: estimated anew for each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import Split
from ..draw import Bar
from ..objective import logits_of
from .cut import Cut
from .landscape import Landscape
from .partial import Partial
from .ways import row_count

__all__ = ["normalisation_layers", "reestimated_totals"]


def normalisation_layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (path, layer) of the layers that keep running batch statistics."""
    return [
        (path, part)
        for path, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]


def reestimated_totals(
    land: Landscape, cut: Cut, coordinates: NDArray[np.float64], batches: int | None, partial: Partial, bar: Bar
) -> None:
    """Fill *partial* with losses under batch statistics that belong to each point.

    For each point the running mean and variance are the plain average over the batches of the data (Izmailov et al.,
    *Averaging Weights Leads to Wider Optima*, UAI 2018, section 3.2); with batches kept apart, those of the batch
    alone.
    """
    layers = normalisation_layers(land.module)
    momenta = [(layer, layer.momentum) for _, layer in layers]
    points = torch.from_numpy(np.ascontiguousarray(coordinates, dtype=np.float64))
    rows = 0
    try:
        for layer, _ in momenta:
            layer.momentum = None  # type: ignore[assignment]  # a plain average
        for index, point in enumerate(points):
            if partial.block == 0 and index >= partial.point:
                rows = _one_point(land, cut, point, index, batches, layers, partial)
                bar.total = rows * len(points)
                bar.add(rows)
    finally:
        for layer, momentum in momenta:
            layer.momentum = momentum
    partial.close_block(rows)


def _read(land: Landscape, batches: int | None) -> Iterator[tuple[int, Split]]:
    """Yield (group, batch); statistics are shared within a group: all batches, or each one alone."""
    for place, batch in enumerate(land.source.batches(0)):
        if batches is not None and place == batches:
            return
        yield (0 if batches is None else place), land.parts(batch)


def _one_point(
    land: Landscape,
    cut: Cut,
    point: Tensor,
    index: int,
    batches: int | None,
    layers: list[tuple[str, nn.Module]],
    partial: Partial,
) -> int:
    """Compute one point over all rows; return their number."""
    params = cut.params(point)
    buffers: dict[int, dict[str, Tensor]] = {}
    for layer in layers:
        layer[1].training = True
    try:
        for group, parts in _read(land, batches):
            if group not in buffers:
                buffers[group] = _reset(cut, layers)
            _output(land, params, buffers[group], parts)
    finally:
        for layer in layers:
            layer[1].training = False
    rows = 0
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for group, parts in _read(land, batches):
        output = _output(land, params, buffers[group], parts)
        with land.precision.context():
            total, weight = land.objective.loss(output, parts.target, parts.row_weight)
        held = total.double(), torch.as_tensor(weight, dtype=torch.float64, device=total.device)
        found[group] = held if group not in found else (found[group][0] + held[0], found[group][1] + held[1])
        rows += row_count(parts)
    partial.add_point(index, found)
    return rows


def _reset(cut: Cut, layers: list[tuple[str, nn.Module]]) -> dict[str, Tensor]:
    buffers = {name: tensor.clone() for name, tensor in cut.buffers.items()}
    for path, _ in layers:
        prefix = f"{path}." if path else ""
        buffers[f"{prefix}running_mean"].zero_()
        buffers[f"{prefix}running_var"].fill_(1)
        buffers[f"{prefix}num_batches_tracked"].zero_()
    return buffers


def _output(land: Landscape, params: dict[str, Tensor], buffers: dict[str, Tensor], parts: Split) -> Tensor:
    with land.precision.context():
        output: Tensor = logits_of(
            torch.func.functional_call(land.module, (params, buffers), parts.args, dict(parts.kwargs))
        )
    return output

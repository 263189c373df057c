"""The loss at many points of a line or a plane: rows outside, points inside, nothing of the model touched."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data import MemorySource, Split
from ..draw import Bar
from ..loop import Processes, check_unshared, spreading
from .cut import Cut
from .landscape import Landscape
from .partial import Partial
from .statistics import reestimated_totals
from .untouched import untouched
from .ways import Way, choose, row_count, rows_of

__all__ = ["Evaluated", "evaluate"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluated:
    """Losses at P points, and how they were computed.

    Attributes:
        values: **(P,)**, or **(batches, P)** where batches are kept apart.
        way: how the points were computed.
        reason: why they were not stacked, or an empty string.
        rows: rows of the data that were used.
        points_at_once: how many points were computed together.
        seconds: wall clock.
    """

    values: Array
    way: str
    reason: str
    rows: int
    points_at_once: int
    seconds: float


@torch.no_grad()
def evaluate(
    who: str,
    land: Landscape,
    cut: Cut,
    coordinates: Array,
    *,
    batches: int | None = None,
    batch_norm: str = "frozen",
    partial: Partial | None = None,
    progress: bool = True,
) -> Evaluated:
    r"""Return :math:`E(\theta_0 + \alpha d_1 + \beta d_2)` at every coordinate.

    Each point is computed from the centre, never from another point. The data are read once: for a block of rows all
    points are computed, in groups whose activations stay in cache.

    Args:
        who: the function, for messages.
        land: model, loss and data.
        cut: the line or plane.
        coordinates: **(P, m)**, m = 1 or 2.
        batches: keep the first so many batches of the source apart; None: all rows together.
        batch_norm: ``"frozen"``, or ``"reestimated"`` at every point.
        partial: what was computed before an interruption, filled further as the work goes on.
        progress: whether a bar is shown where it takes more than a second, in a terminal.
    """
    processes = spreading(next(iter(land.params.values())).device)
    if processes is not None:
        return _spread(who, land, cut, coordinates, processes, batches, batch_norm, partial, progress)
    return _evaluate(who, land, cut, coordinates, batches, batch_norm, partial, progress)


def _evaluate(
    who: str,
    land: Landscape,
    cut: Cut,
    coordinates: Array,
    batches: int | None,
    batch_norm: str,
    partial: Partial | None,
    progress: bool,
) -> Evaluated:
    started = time.perf_counter()
    partial = Partial() if partial is None else partial
    size = len(coordinates), batches or 1
    with untouched(land.module), Bar(who, progress, unit="rows·points/s") as bar:
        if batch_norm == "reestimated":
            way_name, reason, at_once = "one at a time", "batch statistics are estimated anew at every point", 1
            partial.start(*size, way_name)
            reestimated_totals(land, cut, coordinates, batches, partial, bar)
        else:
            way = choose(land, cut, _work(land, len(coordinates), batches))
            way_name, reason, at_once = way.name, way.reason, way.points
            partial.start(*size, f"{way.name}, blocks of {way.rows} rows")
            with way.ready():
                _sweep(land, way, coordinates, batches, partial, bar)
    if partial.rows == 0:
        raise ValueError(f"{who}: the data gave no batch, so there is nothing to draw; pass at least one sample.")
    values = partial.means()
    if land.objective.penalty_term is not None:
        values = values + penalties(land, cut, coordinates)
    seconds = time.perf_counter() - started
    rows = partial.rows
    return Evaluated(values if batches else values[0], way_name, reason, rows, at_once, seconds)


def _spread(
    who: str,
    land: Landscape,
    cut: Cut,
    coordinates: Array,
    processes: Processes,
    batches: int | None,
    batch_norm: str,
    partial: Partial | None,
    progress: bool,
) -> Evaluated:
    """Compute this process's part of the points, and return all of them."""
    check_unshared(who, land.source)
    if partial is not None and partial.path is not None:
        raise ValueError(
            f"{who}: resume={str(partial.path)!r} keeps the state of one process, and {processes.world_size} share the "
            "points; leave resume out, or compute in one process."
        )
    own = np.array_split(np.arange(len(coordinates)), processes.world_size)[processes.rank]
    progress = progress and processes.is_first
    mine = None
    if len(own):
        mine = _evaluate(who, land, cut, coordinates[own], batches, batch_norm, None, progress)
    found: list[Evaluated] = [each for each in processes.gather(mine) if each is not None]
    values = np.concatenate([each.values for each in found], axis=-1)
    return replace(found[0], values=values, seconds=max(each.seconds for each in found))


def _work(land: Landscape, points: int, batches: int | None) -> float:
    """Return rows x points to come; infinitely many where a stream does not say how long it is."""
    per_batch = land.source.batch_size
    rows = land.source.n if batches is None else None if per_batch is None else batches * per_batch
    return float("inf") if rows is None else float(points * rows)


def _sweep(land: Landscape, way: Way, coordinates: Array, batches: int | None, partial: Partial, bar: Bar) -> None:
    points = torch.from_numpy(np.ascontiguousarray(coordinates, dtype=np.float64))
    total = land.source.n if batches is None else None
    bar.total = None if total is None else len(points) * total
    groups = grouped(points, way.points)
    todo = enumerate(blocks(land, way.rows, batches))
    way.place(points)
    for place, (batch, parts) in todo:
        count = row_count(parts)
        if place < partial.block:
            bar.add(len(points) * count)
            continue
        way.begin(parts)
        for first, last in groups:
            first = max(first, partial.point)
            if first >= last:
                continue
            partial.add(batch, first, last, *way.totals(first, last))
            bar.add((last - first) * count)
        partial.close_block(count)


def grouped(points: Tensor, most: int) -> list[tuple[int, int]]:
    """Return the (first, last) of groups of at most *most* points, of equal α where that keeps them large.

    >>> grouped(torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0], [1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), 3)
    [(0, 3), (3, 6)]
    """
    ends = [len(points)]
    if points.shape[1] == 2 and len(points) > 1:
        changes = (torch.nonzero(points[1:, 0] != points[:-1, 0])[:, 0] + 1).tolist()
        if len(points) / (len(changes) + 1) >= min(most, 8) / 2:
            ends = [*changes, len(points)]
    groups, start = [], 0
    for end in ends:
        pieces = -(-(end - start) // most)
        edges = [start + (end - start) * i // pieces for i in range(pieces + 1)]
        groups += list(itertools.pairwise(edges))
        start = end
    return groups


def blocks(land: Landscape, rows: int, batches: int | None) -> Iterator[tuple[int, Split]]:
    """Yield (batch, rows of it): the data in blocks of about *rows* rows, each of one batch.

    Without batches, data in memory are cut as they are; the batch is then 0 throughout.
    """
    source: Any = land.source
    whole = batches is None and isinstance(source, MemorySource)
    for place, batch in enumerate([source.whole()] if whole else source.batches(0)):
        if batches is not None and place == batches:
            return
        parts = land.parts(batch)
        count = row_count(parts)
        pieces = max(1, round(count / rows))
        for i in range(pieces):
            piece = parts if pieces == 1 else rows_of(parts, count * i // pieces, count * (i + 1) // pieces)
            yield (place if batches is not None else 0), piece


def penalties(land: Landscape, cut: Cut, coordinates: Array) -> Array:
    """Return the penalty at every point, **(P,)**."""
    found = []
    for point in torch.from_numpy(np.ascontiguousarray(coordinates, dtype=np.float64)):
        found.append(land.objective.penalty(cut.params(point)))
    values: Array = torch.stack(found).double().cpu().numpy()
    return values

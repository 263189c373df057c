r"""Adaptive planes: computed where interpolation errs, interpolated where it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["interpolation_matrix", "refined"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Compute = Callable[[Array], Array]

_COARSEST = 7  # nodes of the first grid along each axis
_SAFETY = 0.5  # of the tolerance: what the estimated error may use up
_DECAY = 0.5  # how much of a node's miss is expected at nodes half as far apart (a kink leaves a quarter; a peak more)


def refined(compute: Compute, alphas: Array, betas: Array, tolerance: float) -> tuple[Array, Mask]:
    r"""Return (values **(n, m)**, which were computed **(n, m)**).

    Grids are nested: each level halves the distance of the nodes. A new node's value is first predicted from the level
    above (cubic Lagrange interpolation along both axes); where it is then computed, the difference is what
    interpolation misses there, and the misses around a node say what to expect of it on the next level. Nodes are
    computed in the order of that expectation, until what remains is expected to stay within half of

    .. math:: \frac{\lVert \hat E - E \rVert_2}{\lVert E \rVert_2} \le \text{tolerance}

    over the whole grid. Nodes beside values that are not finite are always computed.

    Args:
        compute: returns the losses at points, **(P, 2)** → **(P,)**.
        alphas, betas: the full grid.
        tolerance: in (0, 1).
    """
    level = _first(compute, alphas, betas)
    while True:
        rows, columns = _halved(level.rows), _halved(level.columns)
        last = len(rows) == len(level.rows) and len(columns) == len(level.columns)
        if last:
            return level.values, level.computed
        predicted = _carried(level, rows, columns, alphas, betas)
        expected = _expected(level, rows, columns)
        expected[~np.isfinite(predicted)] = np.inf
        old = np.isin(rows, level.rows)[:, None] & np.isin(columns, level.columns)[None, :]
        computed = np.zeros(predicted.shape, dtype=bool)
        computed[old] = level.computed.reshape(-1)
        todo = _chosen(expected, predicted, ~old, tolerance)
        values = predicted.copy()
        misses = expected.copy()
        misses[old] = 0.0
        if todo.any():
            i, j = np.nonzero(todo)
            found = compute(np.stack([alphas[rows[i]], betas[columns[j]]], axis=1))
            with np.errstate(invalid="ignore"):
                misses[i, j] = np.abs(found - predicted[i, j])
            misses[~np.isfinite(misses)] = np.inf
            values[i, j] = found
            computed |= todo
        misses[old] = np.maximum(_around(misses)[old], 0.0)
        level = _Level(rows, columns, values, misses, computed)


class _Level(NamedTuple):
    """A grid of nodes: indices along both axes, values there, what a prediction may miss by, which were computed."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Array
    misses: Array
    computed: Mask


def _first(compute: Compute, alphas: Array, betas: Array) -> _Level:
    """Compute the coarsest grid and the one below it, so that every region has a miss that was measured."""
    rows, columns = _spread(len(alphas)), _spread(len(betas))
    i, j = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    values = compute(np.stack([alphas[i], betas[j]], axis=1)).reshape(len(rows), len(columns))
    everything = np.full(values.shape, np.inf)
    return _Level(rows, columns, values, everything, np.ones(values.shape, dtype=bool))


def _spread(count: int) -> NDArray[np.int64]:
    return np.unique(np.round(np.linspace(0, count - 1, min(count, _COARSEST))).astype(np.int64))


def _halved(nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(np.concatenate([nodes, (nodes[:-1] + nodes[1:]) // 2]))


def _carried(level: _Level, rows: NDArray[np.int64], columns: NDArray[np.int64], alphas: Array, betas: Array) -> Array:
    left = interpolation_matrix(alphas[level.rows], alphas[rows])
    right = interpolation_matrix(betas[level.columns], betas[columns])
    with np.errstate(invalid="ignore", over="ignore"):
        bad = ~np.isfinite(level.values)
        found: Array = left @ np.where(bad, 0.0, level.values) @ right.T
        if bad.any():
            found[(np.abs(left) @ bad @ np.abs(right).T) > 0] = np.nan
    old = np.isin(rows, level.rows)[:, None] & np.isin(columns, level.columns)[None, :]
    found[old] = level.values.reshape(-1)
    return found


def interpolation_matrix(nodes: Array, at: Array) -> Array:
    """Return the matrix **(m, n)** of cubic Lagrange interpolation from *nodes* **(n,)** to *at* **(m,)**.

    Each row uses the four nodes nearest to its place (all of them where there are fewer).

    >>> interpolation_matrix(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.5])) @ np.array([0.0, 1.0, 8.0, 27.0])
    array([3.375])
    """
    count = min(4, len(nodes))
    place = np.clip(np.searchsorted(nodes, at, side="right") - count // 2, 0, len(nodes) - count)
    matrix = np.zeros((len(at), len(nodes)))
    for row, (start, x) in enumerate(zip(place, at, strict=True)):
        near = nodes[start : start + count]
        for own in range(count):
            others = np.delete(near, own)
            matrix[row, start + own] = np.prod((x - others) / (near[own] - others))
    return matrix


def _expected(level: _Level, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Array:
    """Return what each node of the next level is expected to miss: a share of the largest miss around it."""
    near = _around(level.misses)
    left = np.clip(np.searchsorted(level.rows, rows, side="right") - 1, 0, len(level.rows) - 1)
    right = np.clip(np.searchsorted(level.columns, columns, side="right") - 1, 0, len(level.columns) - 1)
    expected: Array = _DECAY * near[np.ix_(left, right)]
    for di, dj in ((1, 0), (0, 1), (1, 1)):  # a node in a cell sees all its corners
        ii, jj = np.minimum(left + di, len(level.rows) - 1), np.minimum(right + dj, len(level.columns) - 1)
        expected = np.maximum(expected, _DECAY * level.misses[np.ix_(ii, jj)])
    return expected


def _around(misses: Array) -> Array:
    """Return the root mean square of each node's miss and its eight neighbours', where one was measured."""
    padded = np.pad(misses, 1, mode="edge")
    n, m = misses.shape
    stack = np.stack([padded[i : i + n, j : j + m] for i in range(3) for j in range(3)])
    found: Array = np.sqrt((stack**2).mean(axis=0))
    return found


def _chosen(expected: Array, predicted: Array, fresh: Mask, tolerance: float) -> Mask:
    """Return the nodes to compute: the largest expectations, until the others together are small enough."""
    finite = predicted[np.isfinite(predicted)]
    allowed = (_SAFETY * tolerance) ** 2 * float((finite**2).mean()) if finite.size else 0.0
    squares = np.where(fresh, expected, 0.0) ** 2 / expected.size
    order = np.argsort(squares, axis=None)  # smallest first: these are left out while their sum is allowed
    spent = np.cumsum(squares.reshape(-1)[order])
    left_out = np.zeros(expected.size, dtype=bool)
    left_out[order[spent <= allowed]] = True
    chosen: Mask = fresh & ~left_out.reshape(expected.shape)
    return chosen

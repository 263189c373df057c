r"""The triangular factor of all rows in one pass: QR of block after block, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .blocks import Array, as_tensor, column_means
from .workers import Workers

__all__ = ["Triangle"]

_CACHE = 512 << 10


class Triangle:
    r"""R of the QR factorisation of the rows :math:`\sqrt{w_i}\,(1,\; x_i - m_x,\; y_i - m_y)`.

    A block of rows is set under the R of the rows before it, and the two are factorised together by Householder
    reflections: :math:`R_k = \mathrm{qr}(R_{k-1};\, A_k)`. Every step is backward stable, so that the singular values
    of R are those of the rows to rounding, where a Gram matrix holds their squares and loses the small ones. The first
    column belongs to the intercept: what is below its row is the factor of the centred columns.

    Args:
        features: columns p of X.
        targets: columns t of y.
        centred: whether the first column is there and the rows are shifted.

    Attributes:
        rows: rows that counted, those of weight 0 left out.
        weight: sum of the row weights.
        dtype: of the features that came first.

    References:
        Demmel, Grigori, Hoemmen, Langou, *Communication-optimal parallel and sequential QR and LU factorizations*,
        SIAM J. Sci. Comput. 34 (2012), section 2 (sequential TSQR).

    >>> triangle = Triangle(1, 1)
    >>> triangle.add(np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [4.0], [7.0]]))
    >>> (triangle.factor()[0] ** 2).round(12).tolist()   # Σ (x−2)² = 2, and (Σ (x−2)(y−13/3))² / 2 = 12.5
    [2.0, 12.5]
    """

    def __init__(self, features: int, targets: int, *, centred: bool = True, workers: int = 1) -> None:
        self.features, self.targets, self.centred = features, targets, centred
        self.rows = 0
        self.dtype: np.dtype[Any] = np.dtype(np.float64)
        self.weight = 0.0
        self.target_sums: Array = np.zeros(targets)
        self.shift: Array = np.zeros(features + targets)
        self._begun = False
        width = features + targets + int(centred)
        self._at_once = max(4 * width, _CACHE // (8 * width))
        self._parts = [torch.empty(0, width, dtype=torch.float64) for _ in range(workers)]

    def add(self, X: Array, y: Array, w: Array | None = None, workers: Workers | None = None) -> None:
        """Add rows to the factor.

        Args:
            X: features **(b, p)**.
            y: targets **(b, t)**.
            w: row weights **(b,)**, >= 0, or None for 1.
            workers: threads that share the rows; None computes here.
        """
        if not len(X):
            return
        if self.centred and not self._begun:
            self.shift = column_means(X, y, w)
        if not self._begun:
            self.dtype = X.dtype
        self._begun = True
        self.rows += len(X) if w is None else int(np.count_nonzero(w))
        self.weight += float(len(X)) if w is None else float(w.sum(dtype=np.float64))
        self.target_sums += y.sum(0, dtype=np.float64) if w is None else w.astype(np.float64) @ y
        given = as_tensor(X), as_tensor(y), None if w is None else as_tensor(w)

        def work(worker: int, start: int, stop: int) -> None:
            self._reduce(worker, given, start, stop)

        if workers is None:
            work(0, 0, len(X))
        else:
            workers.share(len(X), work)

    def _reduce(self, worker: int, given: tuple[Tensor, Tensor, Tensor | None], start: int, stop: int) -> None:
        X, y, w = given
        first, p = int(self.centred), self.features
        shift = torch.from_numpy(self.shift)
        for begin in range(start, stop, self._at_once):
            end = min(begin + self._at_once, stop)
            above = self._parts[worker]
            stacked = torch.ones(len(above) + end - begin, above.shape[1], dtype=torch.float64)
            stacked[: len(above)] = above
            below = stacked[len(above) :]
            below[:, first : first + p].copy_(X[begin:end])
            below[:, first + p :].copy_(y[begin:end])
            below[:, first:].sub_(shift)
            if w is not None:
                below.mul_(w[begin:end].to(torch.float64).sqrt().unsqueeze(1))
            self._parts[worker] = torch.linalg.qr(stacked, mode="r").R

    def is_finite(self) -> bool:
        """Whether no NaN, infinity or overflow has entered the factor."""
        return all(bool(torch.isfinite(part).all()) for part in self._parts)

    def _whole(self) -> Tensor:
        """Return the factor of all rows, the threads' parts put together."""
        whole = torch.cat([part for part in self._parts if len(part)] or self._parts[:1])
        return torch.linalg.qr(whole, mode="r").R if len(whole) else whole

    def factor(self) -> Array:
        """Return R of the centred columns (of the columns as they are, without an intercept), **(m, p + t)**."""
        first = int(self.centred)
        found: Array = self._whole()[first:, first:].numpy()
        return found

    def means(self) -> Array:
        """Return the columns' weighted means, shape **(p + t,)**; zeros without an intercept."""
        if not self.centred or not self.rows:
            return np.zeros(self.features + self.targets)
        top = self._whole()[0]
        found: Array = (top[1:] / top[0]).numpy() + self.shift
        return found

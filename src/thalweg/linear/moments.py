r"""Sums of products over rows in one pass: the Gram matrix, in float64 or in float32 blocks with float64 sums."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .blocks import Array, as_tensor, column_means
from .c_gram import MOST_COLUMNS, GramKernel, gram_kernel
from .workers import Workers

__all__ = ["Moments", "Precision"]

Precision = Literal["high", "fast"]

Columns = tuple[slice, Tensor, Tensor, Tensor]
"""Where columns go in the rows of a product, the columns, their shift in the working precision, and in float64."""

_CACHE = 512 << 10
"""Bytes of the rows of one product: they are written and read while they stay in a core's second-level cache."""

_WORTH_COMPILING = 1 << 15
"""Rows of a first block that say that there are many: compiling takes a third of a second, once per machine."""


class Moments:
    r"""The matrix :math:`G = \sum_i w_i z_i z_i^\top` of the rows :math:`z_i = (x_i - m_x,\; y_i - m_y,\; 1)`.

    The shift :math:`m` is the mean of the first block (0 where all are small), so that large ones cost no digits
    later. ``"high"`` converts the rows to float64 and sums in float64; ``"fast"`` multiplies a few thousand rows at a
    time in float32 and adds the products up in float64.

    Args:
        features: columns p of X.
        targets: columns t of y.
        precision: ``"high"`` or ``"fast"``.
        centred: whether to shift; without an intercept the columns' means belong to the problem.
        workers: threads that will add rows.
        compiled: whether a C kernel makes the products (where a compiler is there and the columns are few); None where
            the first block is large.

    Attributes:
        gram: G, shape **(p + t + 1, p + t + 1)**, float64.
        shift: m, shape **(p + t,)**, float64.
        rows: rows that counted, those of weight 0 left out.
        dtype: of the features that came first.

    >>> moments = Moments(1, 1)
    >>> moments.add(np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [4.0], [6.0]]))
    >>> moments.shift.tolist(), moments.gram[0].tolist()   # Σ (x−2)², Σ (x−2)(y−4), Σ (x−2)
    ([2.0, 4.0], [2.0, 4.0, 0.0])
    """

    def __init__(
        self,
        features: int,
        targets: int,
        *,
        precision: Precision = "high",
        centred: bool = True,
        workers: int = 1,
        compiled: bool | None = None,
    ) -> None:
        self.features, self.targets = features, targets
        self.precision: Precision = precision
        self.centred = centred
        self.rows = 0
        self.dtype: np.dtype[Any] = np.dtype(np.float64)
        self.shift: Array = np.zeros(features + targets)
        self._dtype = torch.float64 if precision == "high" else torch.float32
        width = features + targets + 1
        self.rows_at_once = max(512, _CACHE // (width * self._dtype.itemsize))
        self._totals = torch.zeros(workers, width, width, dtype=torch.float64)
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._begun = self._shifted = False
        self._compiled = compiled
        self._kernel: GramKernel | None = None
        self._tiles: list[Array] = []
        self._uppers: list[Array] = []  # what the kernel has summed, by worker

    @property
    def gram(self) -> Array:
        found: Array = self._totals.sum(0).numpy()
        if self._uppers:
            upper = np.triu(sum(self._uppers[1:], self._uppers[0])[: len(found), : len(found)])
            found = found + upper + np.triu(upper, 1).T
        return found

    @property
    def weight(self) -> float:
        """Sum of the row weights."""
        last = self.features + self.targets
        return float(self._totals[:, -1, -1].sum() + sum(upper[last, last] for upper in self._uppers))

    @property
    def rounding(self) -> float:
        r"""What an element :math:`G_{ij}` may be off by rounding, relative to :math:`\sqrt{G_{ii} G_{jj}}`.

        :math:`5 \sqrt{b}\, u + 5 \sqrt{n / b}\, u_{64} + 2u` for products over b rows at a time with unit roundoff u:
        the probabilistic bound of Higham and Mary, *A New Approach to Probabilistic Rounding Error Analysis*, SIAM J.
        Sci. Comput. 41 (2019), theorem 2.4, with λ = 5. Bounds that hold without exception have b in the place of √b.
        """
        unit = torch.finfo(self._dtype).eps / 2
        blocks = max(1.0, self.rows / self.rows_at_once)
        wide = torch.finfo(torch.float64).eps / 2
        return float(5 * np.sqrt(min(self.rows, self.rows_at_once)) * unit + 5 * np.sqrt(blocks) * wide + 2 * unit)

    def add(self, X: Array, y: Array, w: Array | None = None, workers: Workers | None = None) -> None:
        """Add rows to the sums.

        Args:
            X: features **(b, p)**.
            y: targets **(b, t)**.
            w: row weights **(b,)**, >= 0, or None for 1.
            workers: threads that share the rows; None computes here.
        """
        if not len(X):
            return
        if not self._begun:
            self._choose(X, y)
        if self.centred and not self._begun:
            # A shift that the working precision represents costs no rounding of its own.
            self.shift = column_means(X, y, w).astype(np.float32).astype(np.float64)
            if (
                self._kernel is None and w is None and _is_near_zero(X, y, self.shift)
            ):  # to subtract costs a quarter of the product
                self.shift = np.zeros(len(self.shift))
        if not self._begun:
            self.dtype = X.dtype
            self._shifted = bool(self.shift.any())
        self._begun = True
        self.rows += len(X) if w is None else int(np.count_nonzero(w))
        if self._kernel is not None and _lies_for_kernel(X, y, self.dtype):
            self._add_compiled(self._kernel, X, y, w, workers)
            return
        p = self.features
        shift = torch.from_numpy(self.shift)
        both = _side_by_side(X, y)
        if both is not None:
            columns = [(slice(0, -1), as_tensor(both), shift.to(self._dtype), shift)]
        else:
            columns = [
                (slice(0, p), as_tensor(X), shift[:p].to(self._dtype), shift[:p]),
                (slice(p, -1), as_tensor(y), shift[p:].to(self._dtype), shift[p:]),
            ]
        weights = None if w is None else as_tensor(w)
        plain = both is not None and w is None and not self._shifted and columns[0][1].dtype is self._dtype
        if not self._buffers:
            self._buffers = [self._buffer() for _ in range(len(self._totals))]

        def work(worker: int, start: int, stop: int) -> None:
            if plain and self._dtype is torch.float32:
                self._sum_in_place(worker, columns[0][1], start, stop)
            else:
                self._sum(worker, columns, weights, start, stop)

        if workers is None:
            work(0, 0, len(X))
        else:
            workers.share(len(X), work)

    @property
    def _kind(self) -> np.dtype[Any]:
        """The type in which products are made."""
        return np.dtype(np.float64 if self.precision == "high" else np.float32)

    def _choose(self, X: Array, y: Array) -> None:
        """Choose how products are made, by the first rows."""
        wanted = len(X) >= _WORTH_COMPILING if self._compiled is None else self._compiled
        columns = self.features + self.targets
        if wanted and columns <= MOST_COLUMNS and _lies_for_kernel(X, y, X.dtype):
            found = gram_kernel(X.dtype, self._kind)
            self._kernel = found if found is not None and found.is_worth(columns) else None
        if self._kernel is not None:
            self.rows_at_once = self._kernel.rows_at_once(columns)
            self._uppers = [self._kernel.total(columns) for _ in range(len(self._totals))]

    def _add_compiled(self, kernel: GramKernel, X: Array, y: Array, w: Array | None, workers: Workers | None) -> None:
        if not self._tiles:
            self._tiles = [kernel.tile(self.features + self.targets) for _ in self._uppers]
        weights = None if w is None else np.ascontiguousarray(w, dtype=np.float64)
        shift = self.shift.astype(kernel.shift)

        def work(worker: int, start: int, stop: int) -> None:
            kernel.add(X, y, weights, shift, start, stop, self._uppers[worker], self._tiles[worker])

        if workers is None:
            work(0, 0, len(X))
        else:
            workers.share(len(X), work)

    def _buffer(self) -> tuple[Tensor, Tensor]:
        width = self.features + self.targets + 1
        rows = torch.ones(self.rows_at_once, width, dtype=self._dtype)
        return rows, torch.empty(width, width, dtype=self._dtype)

    def _sum(self, worker: int, columns: list[Columns], w: Tensor | None, start: int, stop: int) -> None:
        """Add the products of rows *start* … *stop* to the worker's own total."""
        rows, product = self._buffers[worker]
        total = self._totals[worker]
        pieces = -(-(stop - start) // self.rows_at_once)  # of equal size: a short last one would cost a call for little
        for piece in range(pieces):
            begin = start + (stop - start) * piece // pieces
            end = start + (stop - start) * (piece + 1) // pieces
            part = rows[: end - begin]
            for place, given, shift, exact in columns:
                self._write(part[:, place], given[begin:end], shift, exact)
            if w is not None:
                part.mul_(w[begin:end].to(self._dtype).sqrt().unsqueeze(1))
            if self._dtype is torch.float64:
                total.addmm_(part.T, part)
            else:
                torch.mm(part.T, part, out=product)
                total.add_(product)
            if w is not None:
                part[:, -1].fill_(1.0)

    def _sum_in_place(self, worker: int, rows: Tensor, start: int, stop: int) -> None:
        """Add the products of rows that need neither shift nor conversion, from where they lie."""
        ones = self._buffers[worker][0][:, -1]
        total = self._totals[worker]
        product, sums = torch.empty(rows.shape[1], rows.shape[1]), torch.empty(rows.shape[1])
        pieces = -(-(stop - start) // self.rows_at_once)
        for piece in range(pieces):
            begin = start + (stop - start) * piece // pieces
            end = start + (stop - start) * (piece + 1) // pieces
            part = rows[begin:end]
            torch.mm(part.T, part, out=product)
            torch.mv(part.T, ones[: end - begin], out=sums)
            total[:-1, :-1].add_(product)
            total[:-1, -1].add_(sums)
            total[-1, :-1].add_(sums)
            total[-1, -1].add_(end - begin)

    def _write(self, out: Tensor, given: Tensor, shift: Tensor, exact: Tensor) -> None:
        """Write ``given - shift`` into *out*; what is wider than *out* is shifted before it is rounded."""
        if not self._shifted:
            out.copy_(given)
        elif given.dtype is out.dtype:
            torch.sub(given, shift, out=out)
        elif given.dtype is torch.float64:
            out.copy_(given - exact)
        else:
            out.copy_(given).sub_(shift)

    def is_finite(self) -> bool:
        """Whether no NaN, infinity or overflow has entered the sums."""
        if not all(bool(np.isfinite(upper.diagonal()).all()) for upper in self._uppers):
            return False
        return bool(torch.isfinite(self._totals.diagonal(dim1=1, dim2=2)).all())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_buffers": [], "_tiles": [], "_kernel": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._uppers:  # where no kernel compiles any more, further rows are added without one
            self._kernel = gram_kernel(self.dtype, self._kind)


def _lies_for_kernel(X: Array, y: Array, kind: np.dtype[Any]) -> bool:
    """Whether features and targets are of type *kind* and each row's numbers lie side by side."""
    return all(
        part.dtype == kind
        and (part.shape[1] == 1 or part.strides[1] == part.itemsize)
        and part.strides[0] % part.itemsize == 0
        and part.flags.aligned
        for part in (X, y)
    )


def _is_near_zero(X: Array, y: Array, means: Array) -> bool:
    """Whether the first rows' means are within two standard deviations of zero: a shift would gain hardly a digit."""
    with np.errstate(invalid="ignore", over="ignore"):
        squares = [np.square(part[: 1 << 13], dtype=np.float64).mean(0) for part in (X, y)]
    return bool((means**2 <= 0.8 * np.concatenate(squares)).all())


def _side_by_side(X: Array, y: Array) -> Array | None:
    """Return X and y as one array **(b, p + t)** where y's columns follow X's in the same memory, else None."""
    p = X.shape[1]
    if X.dtype != y.dtype or X.strides[1] != X.itemsize or y.strides[0] != X.strides[0]:
        return None
    if y.shape[1] > 1 and y.strides[1] != y.itemsize:
        return None
    start, follows = X.__array_interface__["data"][0], y.__array_interface__["data"][0]
    if follows != start + p * X.itemsize or (p + y.shape[1]) * X.itemsize > X.strides[0]:
        return None
    return np.lib.stride_tricks.as_strided(X, (len(X), p + y.shape[1]), X.strides, writeable=False)

r"""The outer eigenvalues of a symmetric operator, by block Lanczos with full orthogonalisation and thick restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..errors import check_number, unknown_name

__all__ = ["Eigenpairs", "Operator", "eigenpairs"]

End = Literal["largest", "smallest"]


class Operator(Protocol):
    """A symmetric matrix known by its products."""

    size: int

    @property
    def device(self) -> torch.device: ...
    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Return the product with each row, **(k, n)**."""


@dataclass(frozen=True)
class Eigenpairs:
    r"""Eigenvalues at one end of the spectrum.

    Attributes:
        values: **(k,)** float64; the outermost first.
        vectors: **(k, n)**, of norm 1.
        residuals: :math:`\lVert H v - \lambda v \rVert`, **(k,)**.
        products: products with the operator that it took.
        converged: whether every residual is within the tolerance.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int
    converged: bool


def eigenpairs(
    operator: Operator,
    k: int = 1,
    end: End = "largest",
    *,
    tol: float = 1e-4,
    block: int = 1,
    max_products: int = 1000,
    seed: int = 0,
    basis: int | None = None,
) -> Eigenpairs:
    r"""Return the *k* largest (or smallest) eigenvalues, with signs, and their vectors.

    With an orthonormal basis :math:`Q` of the block Krylov space, eigenpairs :math:`(\lambda_i, s_i)` of
    :math:`T = Q H Q^\top` give :math:`\lambda_i` and :math:`Q^\top s_i` with the residual
    :math:`\lVert R\, s_i^{last} \rVert`, known without a further product. The basis is orthogonalised twice against all
    of itself; when it is full, the best vectors are kept and it grows again (thick restart).

    Args:
        operator: the symmetric operator, n × n.
        k: how many, 1 … n.
        end: which.
        tol: a pair is done when its residual is at most *tol* times the largest absolute eigenvalue in sight.
        block: vectors per step; more than one finds eigenvalues of that multiplicity.
        max_products: products after which it ends, done or not.
        seed: of the first block.
        basis: vectors kept at most; None: as many as fit into 512 MB, at most 1000.

    Raises:
        ValueError: k, block or tolerance out of range; products that are not finite.

    Source: Golub & Van Loan, *Matrix Computations*, 4th ed., sections 10.1 and 10.3; Wu & Simon, *Thick-restart Lanczos
    method for large symmetric eigenvalue problems*, SIAM J. Matrix Anal. Appl. 22, 2000.
    """
    n = operator.size
    check_number("eigenpairs", "k", k, low=1, high=n)
    check_number("eigenpairs", "block", block, low=1, high=n)
    check_number("eigenpairs", "tol", tol, low=0.0, low_open=True)
    if end not in ("largest", "smallest"):
        raise unknown_name("eigenpairs", "end", end, ("largest", "smallest"))
    wide = torch.float32 if operator.device.type == "mps" else torch.float64
    generator = torch.Generator().manual_seed(seed)
    room = basis or min(1000, max(2 * (k + block) + 10, (1 << 29) // (8 * n)))
    room = min(n, max(room, k + 2 * block))
    q = torch.zeros(room + block, n, dtype=wide, device=operator.device)
    t = torch.zeros(room + block, room + block, dtype=wide, device=operator.device)
    first = _orthonormal(
        torch.randn(min(block, n), n, generator=generator, dtype=torch.float64).to(q), q[:0], generator
    )
    q[: len(first[0])] = first[0]
    size, width, products = 0, len(first[0]), 0
    while True:
        current = q[size : size + width]
        w = (operator @ current).to(wide)
        products += width
        if not bool(torch.isfinite(w).all()):
            raise ValueError(
                "eigenpairs: a product with the Hessian is not finite; there is no curvature at this point."
            )
        held = q[: size + width]
        c = held @ w.T
        t[: size + width, size : size + width] = c
        t[size : size + width, : size + width] = c.T
        w = w - c.T @ held
        size += width
        small = t[:size, :size]
        values, s = torch.linalg.eigh(0.5 * (small + small.T))
        order = torch.arange(size - 1, -1, -1) if end == "largest" else torch.arange(size)
        values, s = values[order], s[:, order]
        following, r = _orthonormal(w, q[:size], generator, limit=n - size)
        scale = float(values.abs().max())
        residuals = torch.linalg.vector_norm(r @ s[size - width :, :], dim=0)
        taken = min(k, size)
        done = size >= k and bool((residuals[:k] <= tol * scale).all())
        if done or not len(following) or products >= max_products:
            vectors = s[:, :taken].T @ q[:size]
            vectors = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
            return Eigenpairs(
                values[:taken].cpu(), vectors, residuals[:taken].cpu(), products, done or not len(following)
            )
        if size + len(following) > room:
            kept = min(size - 1, max(k + 2, min(2 * k, room // 2), room // 3))
            q[:kept] = s[:, :kept].T @ q[:size]
            t.zero_()
            t[:kept, :kept] = torch.diag(values[:kept])
            size = kept
        q[size : size + len(following)] = following
        width = len(following)


def _orthonormal(
    w: Tensor, held: Tensor, generator: torch.Generator, limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return (rows, R): orthonormal rows beside *held* that span *w*, and the upper triangle with w = Rᵀ rows.

    Rows that vanish (the Krylov space is exhausted) are replaced by random ones, with zeros in R.
    """
    count = len(w) if limit is None else min(len(w), limit)
    rows: list[Tensor] = []
    r = torch.zeros(count, len(w), dtype=w.dtype, device=w.device)
    for column, vector in enumerate(w):
        size = float(torch.linalg.vector_norm(vector))
        for _ in range(2):
            vector = vector - (held @ vector) @ held
            for place, row in enumerate(rows):
                overlap = row @ vector
                r[place, column] += overlap
                vector = vector - overlap * row
        norm = float(torch.linalg.vector_norm(vector))
        if len(rows) == count:
            continue
        tiny = norm <= 1e-12 * max(size, 1e-30) or norm < 1e-200
        if tiny:
            vector = torch.randn(len(vector), generator=generator, dtype=torch.float64).to(w)
            for _ in range(2):
                vector = vector - (held @ vector) @ held
                for row in rows:
                    vector = vector - (row @ vector) * row
            vector = vector / torch.linalg.vector_norm(vector)
        else:
            r[len(rows), column] = norm
            vector = vector / norm
        rows.append(vector)
    found = torch.stack(rows) if rows else w[:0]
    return found, r[: len(rows)]

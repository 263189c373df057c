"""Factorisations of small matrices on one core.

NumPy's and PyTorch's libraries wake all their threads for them, and threads that were woken stay awake for a while: for
a matrix of a few columns that costs more than the factorisation, and slows down whatever runs next.
"""

from __future__ import annotations

import torch

from .blocks import Array
from .workers import one_core

__all__ = ["eigh", "eigvalsh", "svd"]

_SMALL = 256


def eigh(matrix: Array) -> tuple[Array, Array]:
    """Return eigenvalues, ascending, **(p,)**, and eigenvectors **(p, p)** of a symmetric float64 matrix."""
    with one_core(len(matrix) <= _SMALL):
        values, vectors = torch.linalg.eigh(torch.from_numpy(matrix))
    return values.numpy(), vectors.numpy()


def eigvalsh(matrix: Array) -> Array:
    """Return the eigenvalues of a symmetric float64 matrix, ascending, **(p,)**."""
    with one_core(len(matrix) <= _SMALL):
        found: Array = torch.linalg.eigvalsh(torch.from_numpy(matrix)).numpy()
    return found


def svd(matrix: Array) -> tuple[Array, Array, Array]:
    """Return U **(m, k)**, singular values **(k,)**, descending, and Vᵀ **(k, p)** of a float64 matrix."""
    with one_core(max(matrix.shape) <= _SMALL):
        U, s, Vt = torch.linalg.svd(torch.from_numpy(matrix), full_matrices=False)
    return U.numpy(), s.numpy(), Vt.numpy()

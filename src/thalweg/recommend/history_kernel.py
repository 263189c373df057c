"""How alike users (or items) are by what they have rated, and by their side features."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Kernel", "history_kernel"]

Kernel = tuple[Tensor, Tensor]
_LARGEST = 60_000_000  # entries of the dense history, 240 MB
_NEGLIGIBLE = 1e-4  # of the largest eigenvalue


def history_kernel(
    own: Tensor, other: Tensor, n: int, n_other: int, *, history: bool = True, features: Tensor | None = None
) -> Kernel | None:
    r"""Return eigenvectors and eigenvalues of :math:`H H^\top`.

    H has a row for each user (or item): :math:`|N(u)|^{-1/2}` where u rated j, then the side features divided by the
    root of their number.

    Args:
        own, other: rows of the ratings, **(m,)** each.
        n, n_other: rows of the two tables.
        history: whether what was rated counts.
        features: **(n, p)**, or None.

    Returns:
        eigenvectors **(n, r)** and eigenvalues **(r,)** (those above 1e-4 of the largest), or None where there is
        neither history nor features.

    Raises:
        ValueError: the history is too large to be held densely.

    >>> vectors, values = history_kernel(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2, 2)
    >>> (vectors * values @ vectors.T).round(decimals=3).tolist()
    [[1.0, 0.7070000171661377], [0.7070000171661377, 1.0]]
    """
    parts = []
    if history:
        if n * n_other > _LARGEST:
            raise ValueError(
                f"Recommender: histories of {n:,} × {n_other:,} are more than solver='gibbs' holds densely "
                f"({_LARGEST:,} entries); use history=False, or solver='adamw'."
            )
        table = torch.zeros(n, n_other)
        table[own, other] = 1.0
        parts.append(table / table.sum(1, keepdim=True).clamp(min=1).sqrt())
    if features is not None:
        parts.append(features.float() / features.shape[1] ** 0.5)
    if not parts:
        return None
    rows = torch.cat(parts, dim=1)
    if rows.shape[0] <= rows.shape[1]:
        values, vectors = torch.linalg.eigh(rows @ rows.T)
    else:
        values, right = torch.linalg.eigh(rows.T @ rows)
        vectors = rows @ right / values.clamp(min=1e-12).sqrt()
    kept = values > _NEGLIGIBLE * values[-1]
    return vectors[:, kept].contiguous(), values[kept].contiguous()

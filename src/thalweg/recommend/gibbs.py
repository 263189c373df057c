r"""Bayesian factors by Gibbs sampling, with histories, side features, effects of groups and unequal noise.

The model, with users' vectors :math:`x_u = (p_u, b_u)` and items' :math:`y_i = (q_i, b_i)`:

.. math::
    r_{ui} \sim N\Big(\mu + p_u^\top q_i + b_u + b_i + \sum_e t_{e(ui)},\; (\alpha\, w_u w_i)^{-1}\Big), \quad
    x_u \sim N\big(m + f_u, \Lambda^{-1}\big), \quad F \sim N\big(0, \tfrac1\lambda H H^\top \otimes \Lambda^{-1}\big)

and the same for items. H are the histories (:class:`thalweg.recommend.history_kernel.history_kernel`): F = HG with
Gaussian weights G is SVD++'s sum over what was rated, G integrated out. Every conditional is drawn exactly and for all
users (items, groups) at once: the vectors by batched Cholesky factors, (m, Λ) from a normal-Wishart, F in the
eigenvectors of the kernel, where it is independent, and all precisions from Gamma distributions.

Sources: Salakhutdinov and Mnih, *Bayesian Probabilistic Matrix Factorization using MCMC*, ICML 2008; Simm et al.,
*Macau: Scalable Bayesian Multi-relational Factorization with Side Information using MCMC*, 2015, for the prior mean
from features; Lakshminarayanan, Bouchard and Archambeau, *Robust Bayesian Matrix Factorisation*, AISTATS 2011, for the
noise of users and items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .history_kernel import Kernel
from .wishart import normal_wishart

__all__ = ["Draw", "gibbs"]


@dataclass(frozen=True)
class Draw:
    """One draw from the posterior.

    Attributes:
        users, items: factors and bias (last) of each row, **(n, K + 1)**. Of rows without ratings it is not a draw but
            what is expected of them: their prior mean.
        effects: one vector of intercepts per kind of group.
        noise: standard deviation of a rating around its prediction, where w is 1.
    """

    users: Tensor
    items: Tensor
    effects: list[Tensor]
    noise: float


class _Side:
    """Users or items: their vectors, what these are drawn around, and where their ratings are.

    Attributes:
        vectors: x, **(n, K + 1)**.
        prior: f, **(n, K + 1)**; ``rotated`` is the same in the kernel's eigenvectors, **(r, K + 1)**.
        sureness: w, **(n,)**.
    """

    def __init__(self, own: Tensor, other: Tensor, n: int, width: int, kernel: Kernel | None, rng: Any) -> None:
        self.rows = own
        self.order = torch.argsort(own, stable=True)
        self.counts = torch.bincount(own, minlength=n)
        self.starts = self.counts.cumsum(0) - self.counts
        self.rated = other[self.order]
        self.kernel = kernel
        self.vectors = torch.from_numpy(0.1 * rng.standard_normal((n, width)).astype(np.float32))
        self.vectors[:, -1] = 0
        self.prior = torch.zeros(n, width)
        self.rotated = torch.zeros(0 if kernel is None else len(kernel[1]), width)
        self.mean, self.precision = torch.zeros(width), torch.eye(width)
        self.strength = 1.0
        self.sureness = torch.ones(n)

    def expected(self) -> Tensor:
        """Return the vectors, and the prior mean where there are no ratings."""
        return torch.where((self.counts > 0)[:, None], self.vectors, self.prior + self.mean)

    def draw_prior(self, rng: np.random.Generator) -> None:
        """Draw (m, Λ), then F, then λ."""
        if self.kernel is None:
            self._set_normal(*normal_wishart(rng, self.vectors.double().numpy()))
            return
        basis, values = self.kernel
        r, width = self.rotated.shape
        roots = values.sqrt()[:, None]
        scaled = (self.rotated / roots).double().numpy()  # rows of precision λΛ
        own = (self.vectors - self.prior).double().numpy()
        mean, precision = normal_wishart(rng, own, extra=self.strength * scaled.T @ scaled, extra_freedom=r)
        self._set_normal(mean, precision)
        share = values / (values + self.strength)
        centred = basis.T @ (self.vectors - self.mean)
        noise = np.linalg.solve(np.linalg.cholesky(precision).T, rng.standard_normal((width, r))).T
        self.rotated = share[:, None] * centred + share.sqrt()[:, None] * torch.from_numpy(noise.astype(np.float32))
        self.prior = basis @ self.rotated
        scaled = (self.rotated / roots).double().numpy()
        energy = float(((scaled @ precision) * scaled).sum())
        self.strength = float(rng.gamma(1.0 + r * width / 2) / (1.0 + energy / 2))

    def _set_normal(self, mean: Any, precision: Any) -> None:
        self.mean, self.precision = torch.from_numpy(mean).float(), torch.from_numpy(precision).float()

    def draw_vectors(self, other: _Side, target: Tensor, alpha: float, rng: np.random.Generator) -> None:
        r"""Draw all vectors given the other side's: precision :math:`\Lambda + \alpha w_u \sum_i w_i z_i z_i^\top`."""
        n, width = self.vectors.shape
        design = other.vectors.clone()
        design[:, -1] = 1.0
        weighted = design * other.sureness[:, None]
        products = (weighted[:, :, None] * design[:, None, :]).flatten(1)
        gram = F.embedding_bag(self.rated, products, self.starts, mode="sum").reshape(n, width, width)
        biases = other.vectors[:, -1].contiguous().index_select(0, self.rated)
        left_over = target.index_select(0, self.order) - biases
        sums = F.embedding_bag(self.rated, weighted, self.starts, mode="sum", per_sample_weights=left_over)
        sure = (alpha * self.sureness)[:, None]
        lower = torch.linalg.cholesky(self.precision + gram * sure[:, :, None])
        right = (self.prior + self.mean) @ self.precision + sums * sure
        noise = torch.from_numpy(rng.standard_normal((n, width)).astype(np.float32))
        half = torch.linalg.solve_triangular(lower, right.unsqueeze(-1), upper=False) + noise.unsqueeze(-1)
        self.vectors = torch.linalg.solve_triangular(lower.mT, half, upper=True).squeeze(-1)

    def draw_sureness(self, squares: Tensor, freedom: float, rng: np.random.Generator) -> None:
        """Draw w from Gamma(ν/2 + n/2, ν/2 + Σ/2), Σ the sum of *squares*, precision of all else included."""
        energy = torch.zeros(len(self.sureness)).index_add_(0, self.rows, squares).numpy()
        shape = (freedom + self.counts.numpy()) / 2
        self.sureness = torch.from_numpy((rng.gamma(shape) / ((freedom + energy) / 2)).astype(np.float32))


class _Effect:
    """Intercepts of the groups of one kind, drawn around zero with a precision of their own."""

    def __init__(self, groups: Tensor, size: int) -> None:
        self.groups = groups
        self.values = torch.zeros(size)
        self.precision = 10.0

    def draw(self, left_over: Tensor, weight: Tensor, alpha: float, rng: np.random.Generator) -> None:
        size = len(self.values)
        sums = torch.zeros(size).index_add_(0, self.groups, left_over * weight)
        precision = self.precision + alpha * torch.zeros(size).index_add_(0, self.groups, weight)
        noise = torch.from_numpy(rng.standard_normal(size).astype(np.float32))
        self.values = alpha * sums / precision + noise / precision.sqrt()
        self.precision = float(rng.gamma(1.0 + size / 2) / (0.1 + 0.5 * float(self.values.square().sum())))


@torch.no_grad()
def gibbs(
    users: Tensor,
    items: Tensor,
    ratings: Tensor,
    kernels: tuple[Kernel | None, Kernel | None],
    sizes: tuple[int, int],
    *,
    n_factors: int = 16,
    effects: Sequence[tuple[Tensor, int]] = (),
    freedom: float | None = 10.0,
    seed: int = 0,
) -> Iterator[Draw]:
    r"""Yield draws without end; the first few dozen still remember where they began.

    Args:
        users, items: rows of the ratings, **(n,)**, int64.
        ratings: minus their mean, **(n,)**, float32.
        kernels: of users' and items' histories and features, or None each.
        sizes: rows of the two tables.
        n_factors: K >= 1.
        effects: (row of each rating **(n,)**, number of rows) for each kind of group; row 0 is the unknown.
        freedom: ν of the prior :math:`w \sim \text{Gamma}(\nu/2, \nu/2)`, mean 1; None keeps w at 1.
        seed: of all draws.

    Shapes: as in `Draw`.

    >>> rows = torch.tensor([0, 0, 1, 1])
    >>> ratings = torch.tensor([1.0, -1.0, 1.0, -1.0])
    >>> draws = gibbs(rows, torch.tensor([0, 1, 0, 1]), ratings, (None, None), (2, 2), n_factors=1)
    >>> next(draws).users.shape
    torch.Size([2, 2])
    """
    rng = np.random.default_rng(seed)
    left = _Side(users, items, sizes[0], n_factors + 1, kernels[0], rng)
    right = _Side(items, users, sizes[1], n_factors + 1, kernels[1], rng)
    groups = [_Effect(rows, size) for rows, size in effects]
    n = len(ratings)
    weight, offset, alpha = torch.ones(n), torch.zeros(n), 1.0
    while True:
        for side, other in ((left, right), (right, left)):
            side.draw_prior(rng)
            side.draw_vectors(other, ratings - offset, alpha, rng)
        x, y = left.vectors.index_select(0, users), right.vectors.index_select(0, items)
        left_over = ratings - (x[:, :-1] * y[:, :-1]).sum(1) - x[:, -1] - y[:, -1]
        for effect in groups:
            offset = offset - effect.values.index_select(0, effect.groups)
            effect.draw(left_over - offset, weight, alpha, rng)
            offset = offset + effect.values.index_select(0, effect.groups)
        squares = (left_over - offset).square()
        alpha = float(rng.gamma(1.0 + n / 2) / (1.0 + 0.5 * float((squares * weight).sum())))
        if freedom is not None:
            for side, other in ((left, right), (right, left)):
                side.draw_sureness(alpha * squares * other.sureness.index_select(0, other.rows), freedom, rng)
            weight = left.sureness.index_select(0, users) * right.sureness.index_select(0, items)
        yield Draw(left.expected(), right.expected(), [effect.values for effect in groups], alpha**-0.5)

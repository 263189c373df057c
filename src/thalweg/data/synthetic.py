"""Seeded regression data with known answers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .named import NamedData, Pair

__all__ = ["linear", "nonlinear"]


def linear(n: int = 10_000, features: int = 10, noise: float = 0.1, seed: int = 0) -> NamedData:
    """Return least-squares data: **y = X w + b + ε**, X ~ N(0, 1), ε ~ N(0, noise²).

    Args:
        n: training rows; validation and test rows are a fifth of it each, at least one.
        features: columns p of X.
        noise: standard deviation of ε, >= 0; the best reachable mean squared error is its square.
        seed: of everything drawn.

    Returns:
        Parts X **(n, p)**, y **(n, 1)**, float32; ``truth`` holds ``weight`` **(1, p)** and ``bias`` **(1,)**, as in
        ``nn.Linear(p, 1)``.

    >>> data = linear(noise=0.0)
    >>> x, y = data.train
    >>> bool(torch.allclose(torch.nn.functional.linear(x, data.truth["weight"], data.truth["bias"]), y))
    True
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(1, features, generator=generator)
    bias = torch.randn(1, generator=generator)

    def rows(count: int) -> Pair:
        x = torch.randn(count, features, generator=generator)
        return x, x @ weight.T + bias + noise * torch.randn(count, 1, generator=generator)

    fifth = max(1, n // 5)
    return NamedData(
        name="linear",
        train=rows(n),
        valid=rows(fifth),
        test=rows(fifth),
        feature_names=tuple(f"x{i}" for i in range(features)),
        truth={"weight": weight, "bias": bias},
    )


def nonlinear(n: int = 10_000, noise: float = 1.0, seed: int = 0) -> NamedData:
    r"""Return Friedman's first problem, with five informative and five idle features:

    .. math:: y = 10 \sin(\pi x_0 x_1) + 20 (x_2 - 1/2)^2 + 10 x_3 + 5 x_4 + ε

    X is uniform on [0, 1] and ε ~ N(0, noise²) (Friedman 1991, *Multivariate Adaptive Regression Splines*, eq. 61).

    Args:
        n: training rows; validation and test rows are a fifth of it each, at least one.
        noise: standard deviation of ε, >= 0; the best reachable mean squared error is its square.
        seed: of everything drawn.

    Returns:
        Parts X **(n, 10)**, y **(n, 1)**, float32.

    >>> x, y = nonlinear(n=100).train
    >>> x.shape, y.shape
    (torch.Size([100, 10]), torch.Size([100, 1]))
    """
    generator = torch.Generator().manual_seed(seed)

    def rows(count: int) -> Pair:
        x = torch.rand(count, 10, generator=generator)
        return x, _friedman(x) + noise * torch.randn(count, 1, generator=generator)

    fifth = max(1, n // 5)
    return NamedData(
        name="nonlinear",
        train=rows(n),
        valid=rows(fifth),
        test=rows(fifth),
        feature_names=tuple(f"x{i}" for i in range(10)),
    )


def _friedman(x: Tensor) -> Tensor:
    """Return Friedman's function, **(n, 10) → (n, 1)**."""
    waves = 10 * torch.sin(math.pi * x[:, 0] * x[:, 1])
    return (waves + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]).unsqueeze(1)

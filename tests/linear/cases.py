"""Least-squares problems with what is hard about each, and NumPy's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Problem:
    """X, y and whether there is an intercept; ``alpha`` is a ridge."""

    name: str
    X: Array
    y: Array
    intercept: bool
    alpha: float = 0.0

    def columns(self) -> Array:
        """Return the columns that the rank and the condition number are those of."""
        return self.X - self.X.mean(0) if self.intercept else self.X

    def solution(self) -> tuple[Array, float]:
        """Return NumPy's coefficients and intercept: ``lstsq`` of the (centred) columns, the ridge as further rows."""
        columns, target = self.columns(), self.y - self.y.mean() if self.intercept else self.y
        if self.alpha:
            p = columns.shape[1]
            columns = np.vstack([columns, np.sqrt(self.alpha) * np.eye(p)])
            target = np.concatenate([target, np.zeros(p)])
        coef = np.linalg.lstsq(columns, target, rcond=None)[0]
        return coef, float(self.y.mean() - self.X.mean(0) @ coef) if self.intercept else 0.0


def with_condition(n: int, p: int, condition: float, rng: np.random.Generator) -> Array:
    """Return a matrix with singular values spread evenly in the logarithm from √n down to √n / condition."""
    U = np.linalg.qr(rng.standard_normal((n, p)))[0]
    V = np.linalg.qr(rng.standard_normal((p, p)))[0]
    return U * np.logspace(0, -np.log10(condition), p) @ V.T * np.sqrt(n)


def _problems() -> list[Problem]:
    rng = np.random.default_rng(0)
    plain = rng.standard_normal((700, 8))
    matrices = {
        "random": plain,
        "condition 1e1": with_condition(700, 8, 1e1, rng),
        "condition 1e3": with_condition(700, 8, 1e3, rng),
        "condition 1e6": with_condition(700, 8, 1e6, rng),
        "collinear": np.column_stack([plain, plain[:, 0] + plain[:, 1]]),
        "wide": rng.standard_normal((20, 50)),
        "one column": plain[:, :1],
        "constant column": np.column_stack([plain, np.full(700, 3.7)]),
        "far from zero": plain + 1e4,
    }
    found = []
    for name, X in matrices.items():
        y = X @ rng.standard_normal(X.shape[1]) + 0.1 * rng.standard_normal(len(X)) + 2.0
        found += [Problem(name, X, y, True), Problem(f"{name}, no intercept", X, y, False)]
        if name in ("random", "collinear", "wide", "condition 1e6"):
            found.append(Problem(f"{name}, ridge", X, y, True, alpha=0.5))
    return found


PROBLEMS = _problems()
EPS = float(np.finfo(np.float64).eps)


def error(found: Array, right: Array) -> float:
    """Return ‖found − right‖ / ‖right‖."""
    return float(np.linalg.norm(found - right) / np.linalg.norm(right))

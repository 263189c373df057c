"""Made-up ratings that the tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.recommend import Ratings


def table(n: int = 1500, users: int = 60, items: int = 40, seed: int = 0, noise: float = 0.3) -> dict[str, Any]:
    """Return ratings of users with biases and two tastes; each pair at most once."""
    rng = np.random.default_rng(seed)
    pair = rng.permutation(users * items)[:n]
    u, i = pair // items, pair % items
    p, q = rng.standard_normal((users, 2)), rng.standard_normal((items, 2))
    b, c = 0.5 * rng.standard_normal(users), 0.5 * rng.standard_normal(items)
    r = 3.0 + b[u] + c[i] + 0.5 * (p[u] * q[i]).sum(1) + noise * rng.standard_normal(n)
    return {"user": u * 7 + 1000, "item": i + 5, "rating": np.clip(np.round(r * 2) / 2, 1, 5)}


def ratings(**settings: Any) -> Ratings:
    """Return the same as ratings."""
    return Ratings.of(table(**settings))

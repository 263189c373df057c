"""Whether two settings can be told apart: a paired test over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["FEWEST_SEEDS", "holm", "paired_p", "student_tail"]

#: With fewer pairs a verdict would rest on one or two differences.
FEWEST_SEEDS = 3


def student_tail(t: float, freedom: int) -> float:
    r"""Return :math:`P(|T| > |t|)` for Student's distribution with a whole number of degrees of freedom.

    The finite sums of Abramowitz and Stegun, *Handbook of Mathematical Functions*, 26.7.3 and 26.7.4, with
    :math:`\theta = \arctan(t / \sqrt \nu)`.

    >>> round(student_tail(4.302652729911275, 2), 6)   # the table's 5 % point
    0.05
    """
    theta = math.atan(abs(t) / math.sqrt(freedom))
    sine, cosine = math.sin(theta), math.cos(theta)
    term, total = 1.0, 0.0
    if freedom % 2:
        term = cosine
        for power in range(1, freedom - 1, 2):
            total += term
            term *= cosine * cosine * (power + 1) / (power + 2)
        inside = 2 / math.pi * (theta + sine * total)
    else:
        for power in range(0, freedom - 1, 2):
            total += term
            term *= cosine * cosine * (power + 1) / (power + 2)
        inside = sine * total
    return min(1.0, max(0.0, 1.0 - inside))


def paired_p(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the two-sided p-value of Student's paired test; None with fewer than three pairs.

    Args:
        a, b: losses of two settings, seed by seed.

    >>> round(paired_p([1.0, 2.0, 3.0], [1.1, 2.2, 3.3]), 3)
    0.074
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    count = len(differences)
    if count < FEWEST_SEEDS:
        return None
    mean = math.fsum(differences) / count
    variance = math.fsum((d - mean) ** 2 for d in differences) / (count - 1)
    if variance == 0:
        return 1.0 if mean == 0 else 0.0
    return student_tail(mean / math.sqrt(variance / count), count - 1)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for being many.

    Source: Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, Scandinavian Journal of Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=lambda place: values[place])
    found = [0.0] * len(values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        found[place] = largest
    return found

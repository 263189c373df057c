r"""Standard errors and confidence intervals of coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .blocks import Array
from .solution import Solution

__all__ = ["Inference", "of_solution"]


@dataclass(frozen=True)
class Inference:
    r"""Uncertainty of the coefficients under independent errors of variance :math:`σ^2 / w_i`.

    .. math:: \hat σ^2 = \frac{\sum_i w_i r_i^2}{ν}, \qquad
        \operatorname{se}(\hat w_j) = \hat σ \sqrt{\left[(X^\top W X)^{-1}\right]_{jj}}

    Attributes:
        coef, intercept: what it is about, **(t, p)** and **(t,)**.
        standard_errors: of the coefficients, **(t, p)**.
        intercept_standard_error: **(t,)**, or None without an intercept.
        degrees_of_freedom: ν = rows − coefficients − intercept.
    """

    coef: Array
    intercept: Array
    standard_errors: Array
    intercept_standard_error: Array | None
    degrees_of_freedom: float

    def intervals(self, level: float) -> tuple[Array, Array | None]:
        r"""Return confidence intervals :math:`\hat w_j \pm t_{ν, (1 + \text{level}) / 2}\, \operatorname{se}_j`.

        Args:
            level: the probability that such an interval covers the true value, in (0, 1).

        Returns:
            Lower and upper ends, **(t, p, 2)**, and the intercept's **(t, 2)** or None.
        """
        from scipy.special import stdtrit  # type: ignore[import-untyped]  # ships no types

        half = stdtrit(self.degrees_of_freedom, (1 + level) / 2)
        ends = np.stack([self.coef - half * self.standard_errors, self.coef + half * self.standard_errors], -1)
        if self.intercept_standard_error is None:
            return ends, None
        width = half * self.intercept_standard_error
        return ends, np.stack([self.intercept - width, self.intercept + width], -1)

    def table(self, names: Sequence[str], level: float = 0.95) -> str:
        """Return a text table: coefficient, standard error, t and interval, one row each, targets one by one."""
        ends, own = self.intervals(level)
        width = max(9, *(len(name) for name in names))
        share = f"{level:.0%}"
        lines = [f"{'':<{width}}  {'estimate':>12}  {'std. error':>12}  {'t':>9}  {share + ' from':>12}  {'to':>12}"]

        def line(name: str, value: float, error: float, interval: Array) -> str:
            t = value / error if error else np.inf
            numbers = f"{value:>12.6g}  {error:>12.4g}  {t:>9.2f}  {interval[0]:>12.6g}  {interval[1]:>12.6g}"
            return f"{name:<{width}}  {numbers}"

        for target in range(len(self.coef)):
            if own is not None and self.intercept_standard_error is not None:
                error = float(self.intercept_standard_error[target])
                lines.append(line("intercept", float(self.intercept[target]), error, own[target]))
            lines += [
                line(name, float(self.coef[target, j]), float(self.standard_errors[target, j]), ends[target, j])
                for j, name in enumerate(names)
            ]
        return "\n".join(lines)


def of_solution(solution: Solution) -> Inference | None:
    """Return the uncertainty of a least-squares solution, or None where it is not defined.

    It is not with a ridge (the estimate is biased), with columns that depend on each other, and without a row more
    than there are coefficients.
    """
    if solution.variance is None:
        return None
    intercepts = int(solution.intercept_variance is not None)
    freedom = solution.rows - solution.rank - intercepts
    if freedom <= 0:
        return None
    sigma = np.sqrt(solution.rss / freedom)
    own = None if solution.intercept_variance is None else sigma * np.sqrt(solution.intercept_variance)
    errors = sigma[:, None] * np.sqrt(solution.variance)
    return Inference(solution.coef, solution.intercept, errors, own, float(freedom))

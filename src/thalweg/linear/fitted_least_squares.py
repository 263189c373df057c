"""What is known after least squares was fitted: coefficients, goodness of fit, standard errors and their table."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from thalweg.errors import check_number

from .accuracy import Accuracy
from .blocks import Array, blocks_of, check_block
from .descent import Descent
from .inference import Inference, of_solution
from .model import LinearModel
from .path import Path
from .solution import Solution

__all__ = ["FittedLeastSquares"]


class FittedLeastSquares(LinearModel):
    """The part of `LeastSquares` that holds and explains a result."""

    def _set_linear(self, coef: Array, intercept: Array, dtype: Any, single: bool) -> None:
        coef, intercept = coef.astype(dtype), intercept.astype(dtype)
        self.coef_ = coef[0] if single else coef
        if not self.fit_intercept:
            self.intercept_: Any = 0.0
        else:
            self.intercept_ = float(intercept[0]) if single else intercept

    def _set_fit(self, rss: Array, tss: Array) -> None:
        self.rss_: float | None = float(rss.sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(tss > 0, 1 - rss / tss, np.where(rss > 0, 0.0, 1.0))
        self.r2_: float | None = float(each.mean())

    def _take(self, solution: Solution, dtype: Any, single: bool) -> None:
        self._set_linear(solution.coef, solution.intercept, dtype, single)
        self._set_fit(solution.rss, solution.tss)
        self.rank_: int | None = solution.rank
        self.singular_values_: Array | None = solution.singular_values
        self.condition_number_ = solution.condition_number
        self.accuracy_: Accuracy | None = solution.accuracy
        self._set_inference(of_solution(solution), single)
        self.path_ = Path(np.zeros(1, int), solution.coef[None], solution.intercept[None], np.full(1, np.nan))

    def _take_descent(self, descent: Descent, single: bool) -> None:
        coef, intercept = descent.final()
        self._set_linear(coef, intercept, coef.dtype, single)
        self.rank_ = self.singular_values_ = self.accuracy_ = None
        self.rss_ = self.r2_ = None
        self._set_inference(None, single)
        if descent.steps:
            self.path_ = descent.keeper.path()

    def _set_inference(self, found: Inference | None, single: bool) -> None:
        self._inference = found
        errors = None if found is None else found.standard_errors
        own = None if found is None else found.intercept_standard_error
        self.standard_errors_ = errors if errors is None or not single else errors[0]
        self.intercept_standard_error_ = own if own is None or not single else float(own[0])

    def _note_residuals(self, X: Array, y: Array, w: Array | None) -> None:
        fitted = X @ np.atleast_2d(self.coef_).T + np.atleast_1d(self.intercept_)
        rest = y.reshape(len(y), -1) - fitted
        self.residuals_: Array | None = rest.reshape(y.shape)
        if self.rss_ is None:
            Y = y.reshape(len(y), -1)
            mean = np.average(Y, axis=0, weights=w)
            weights = np.ones(len(Y)) if w is None else w
            self._set_fit(weights @ rest.astype(np.float64) ** 2, weights @ (Y - mean).astype(np.float64) ** 2)

    def predict(self, X: Any) -> Array:
        """Return x·w + b for every row.

        Args:
            X: features **(n, p)**.

        Returns:
            **(n,)**, or **(n, t)** where y was.
        """
        found = self._linear(X)
        return found[:, 0] if self.coef_.ndim == 1 else found

    def score_stream(self, source: Any) -> float:
        """Return R² over a stream in one pass; several targets are averaged.

        Args:
            source: as in `fit_stream`.
        """
        check_is_fitted(self)
        coef, b = np.atleast_2d(self.coef_).astype(np.float64), np.atleast_1d(self.intercept_)
        rss = sums = squares = weight = 0.0
        offset = 0
        start: Any = None
        for given in blocks_of(source, "LeastSquares.score_stream").blocks():
            X, y, w = check_block("LeastSquares.score_stream", given, self.n_features_in_, len(coef), offset)
            start = y[:1].astype(np.float64) if start is None else start
            weights = np.ones(len(X)) if w is None else w.astype(np.float64)
            rss = rss + weights @ (y - (X @ coef.T + b)) ** 2
            sums, squares = sums + weights @ (y - start), squares + weights @ (y - start) ** 2
            weight += float(weights.sum())
            offset += len(X)
        return float(np.mean(1 - rss / (squares - sums**2 / weight)))

    def confidence_intervals(self, level: float = 0.95) -> Array:
        """Return the coefficients' confidence intervals, **(p, 2)** or **(t, p, 2)**; `summary` has the intercept's.

        Args:
            level: in (0, 1).

        Raises:
            ValueError: they are not defined for this fit.
        """
        ends, _ = self._inference_or_raise("confidence_intervals").intervals(_checked_level(level))
        return ends[0] if self.coef_.ndim == 1 else ends

    def summary(self, level: float = 0.95) -> str:
        """Return coefficients, standard errors, t and intervals as a text table.

        Raises:
            ValueError: they are not defined for this fit.
        """
        return self._inference_or_raise("summary").table(self._names(), _checked_level(level))

    def summary_frame(self, level: float = 0.95) -> Any:
        """Return the same as a pandas table, one row per coefficient, for one target.

        Raises:
            ValueError: they are not defined for this fit, or there are several targets.
        """
        import pandas as pd

        found = self._inference_or_raise("summary_frame")
        if len(found.coef) != 1:
            raise ValueError(
                f"LeastSquares.summary_frame: there are {len(found.coef)} targets, and one table describes one; use "
                "summary() or confidence_intervals()."
            )
        ends, own = found.intervals(_checked_level(level))
        columns = {"estimate": found.coef[0], "standard_error": found.standard_errors[0]}
        table = pd.DataFrame({**columns, "lower": ends[0, :, 0], "upper": ends[0, :, 1]}, index=self._names())
        if own is None or found.intercept_standard_error is None:
            return table
        row = [found.intercept[0], found.intercept_standard_error[0], own[0, 0], own[0, 1]]
        top = pd.DataFrame([row], columns=table.columns, index=["intercept"])
        return pd.concat([top, table])

    def _inference_or_raise(self, name: str) -> Inference:
        check_is_fitted(self)
        if self._inference is None:
            raise ValueError(
                f"LeastSquares.{name}: standard errors are not defined for this fit (solver {self.solver_!r}, "
                f"alpha={self.alpha}, rank {self.rank_} of {self.n_features_in_}); they need the closed form, alpha=0, "
                "columns that do not depend on each other, and more rows than coefficients."
            )
        return self._inference


def _checked_level(level: float) -> float:
    check_number("LeastSquares", "level", level, low=0.0, high=1.0, low_open=True, high_open=True)
    return float(level)

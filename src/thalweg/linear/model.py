"""What both estimators share: their input, their predictor, and how an iterative solver is set up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from thalweg import data, optim
from thalweg.data import Source, StreamSource
from thalweg.draw import Bar
from thalweg.errors import check_number, unknown_name
from thalweg.optim import Rule
from thalweg.schedule import InverseSqrt, Linear

from .blocks import Array, Blocks, StreamBlocks, as_tensor, check_block, name_bad_value
from .coordinates import Curvature, curvature_of, standardising
from .descent import Descent, over_batches
from .link import Link
from .lying_rows import kernel_of, over_places
from .workers import one_core

__all__ = ["LinearModel"]

_SAMPLE = 1 << 14


class LinearModel(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A linear predictor z = x Wᵀ + b. `LeastSquares` and `LogisticRegression` say what for."""

    solvers: tuple[str, ...] = ()

    # ------------------------------------------------------------------------------------------------------ settings

    def _check_settings(self) -> None:
        who = type(self).__name__
        if self.solver not in self.solvers:
            raise unknown_name(who, "solver", self.solver, self.solvers)
        check_number(who, "alpha", self.alpha, low=0.0, high=1e300)
        check_number(who, "max_iter", self.max_iter, low=1)
        check_number(who, "epochs", self.epochs, low=1)
        check_number(who, "batch_size", self.batch_size, low=1)
        if self.tol is not None:
            check_number(who, "tol", self.tol, low=0.0)
        if self.dtype is not None and np.dtype(self.dtype) not in (np.float32, np.float64):
            raise ValueError(f"{who}: dtype={self.dtype!r} is neither float32 nor float64; choose one, or None.")

    def _wanted_dtype(self) -> Any:
        return [np.float64, np.float32] if self.dtype is None else np.dtype(self.dtype)

    def _kept_dtype(self, given: Any) -> Any:
        """Return the dtype of the coefficients for features of *given*."""
        if self.dtype is not None:
            return np.dtype(self.dtype)
        return np.dtype(np.float32 if given == np.float32 else np.float64)

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    # --------------------------------------------------------------------------------------------------------- input

    def _features(self, X: Any, reset: bool, who: str, **more: Any) -> Any:
        """Return X (and y) as scikit-learn validates them, with NaN and infinities named by row and column."""
        found = validate_data(self, X, reset=reset, dtype=self._wanted_dtype(), ensure_all_finite=False, **more)
        checked = found[0] if isinstance(found, tuple) else found
        with np.errstate(over="ignore", invalid="ignore"):
            sums = bool(np.isfinite(checked.sum(dtype=np.float64)))
        if not sums:
            name_bad_value(who, (checked, checked[:0], None), getattr(self, "feature_names_in_", None), 0)
        return found

    def _weights(self, sample_weight: Any, X: Array) -> Array | None:
        if sample_weight is None:
            return None
        found: Array = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return found

    def _linear(self, X: Any) -> Array:
        """Return the predictor, **(n, k)**."""
        check_is_fitted(self)
        X = self._features(X, False, f"{type(self).__name__}.predict")
        coef = np.atleast_2d(self.coef_)
        found: Array = X @ coef.T + np.atleast_1d(self.intercept_)
        return found

    # ----------------------------------------------------------------------------------------------- iterative solvers

    def _rule(self, curvature: Curvature, batch: int | None) -> Rule:
        """Return the rule: the user's, or plain (stochastic) gradient descent at the rate that the data allow."""
        if self.optimizer is not None:
            return optim.make(self.optimizer, f"{type(self).__name__} optimizer")
        rate = curvature.rate(batch)
        return optim.SGD(lr=rate, momentum=0.9, nesterov=True) if batch is None else optim.SGD(lr=rate)

    def _schedule(self, total_steps: int | None, batch: int | None) -> Any:
        """Return the schedule: the user's, else for SGD the rate falling to zero over what is known of the run."""
        if self.schedule is not None or batch is None:
            return self.schedule
        return InverseSqrt(1000) if total_steps is None else Linear()

    def _descent(
        self,
        link: Link,
        outputs: int,
        sample: tuple[Array, Array | None],
        *,
        weight: float,
        mean_weight: float,
        batch: int | None,
        total_steps: int | None,
        steps_per_epoch: int | None,
        schedule: Any,
        dtype: Any,
    ) -> Descent:
        """Return a descent in coordinates that the sample rows standardise, with its curvature noted."""
        X, w = sample
        at = standardising(X, w, bool(self.fit_intercept), bool(self.standardize))
        ridge = self._ridge(weight)
        found = curvature_of(X, w, at, ridge, bool(self.fit_intercept), link.curvature)
        self.condition_number_ = found.condition
        return Descent(
            link,
            outputs,
            at,
            ridge=ridge,
            intercept=bool(self.fit_intercept),
            rule=self._rule(found, batch),
            schedule=schedule,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            mean_weight=mean_weight,
            dtype=torch.float32 if np.dtype(dtype) == np.float32 else torch.float64,
        )

    def _ridge(self, weight: float) -> float:
        return float(self.alpha) / weight if self.alpha else 0.0

    def _by_batches(
        self,
        link: Link,
        outputs: int,
        source: Source,
        sample: tuple[Array, Array | None],
        *,
        weight: float,
        mean_weight: float,
        batch: int,
        dtype: Any,
        who: str,
        targets: Callable[[Any], Any] | None = None,
    ) -> Descent:
        """Return the descent after all epochs over the source."""
        per_epoch = source.steps_per_epoch
        total = None if per_epoch is None else per_epoch * int(self.epochs)
        descent = self._descent(
            link,
            outputs,
            sample,
            weight=weight,
            mean_weight=mean_weight,
            batch=batch,
            total_steps=total,
            steps_per_epoch=per_epoch,
            schedule=self._schedule(total, batch),
            dtype=dtype,
        )
        with Bar(who, bool(self.verbose), unit="rows/s") as bar:
            bar.total = None if source.n is None else source.n * int(self.epochs)
            descent.kernel = kernel_of(descent, None if source.n is None else source.n * int(self.epochs))
            if targets is not None or not self._where_they_lie(descent, source, who, bar):
                epochs = (source.batches(epoch) for epoch in range(int(self.epochs)))
                if targets is not None:
                    epochs = (map(targets, batches) for batches in epochs)
                over_batches(descent, epochs, who, bar.add)
        descent.finish()
        self.n_iter_ = int(self.epochs)
        return descent

    def _where_they_lie(self, descent: Descent, source: Source, who: str, bar: Bar) -> bool:
        """Make all updates on rows of a stream that are not copied for it; return False where that cannot be."""
        kernel = descent.kernel
        if kernel is None or not isinstance(source, StreamSource):
            return False
        rows = source.table.layout.empty(1)
        if rows.y is None or rows.x.shape[1] != len(kernel.coef) or not kernel.attach(rows.x, rows.y, rows.w):
            return False
        with one_core():
            epochs = (source.lying(epoch) for epoch in range(int(self.epochs)))
            over_places(descent, kernel, source, epochs, who, bar.add)
        return True

    def _memory_source(self, X: Array, y: Array, w: Array | None) -> Source:
        arrays = (as_tensor(X), as_tensor(y)) if w is None else (as_tensor(X), as_tensor(y), as_tensor(w))
        return data.source(arrays, batch_size=int(self.batch_size), seed=self._seed())

    def _sample(self, X: Array, w: Array | None) -> tuple[Array, Array | None]:
        """Return rows by which coordinates and rates are chosen: all, or about 16,384 of them spread evenly."""
        step = max(1, len(X) // _SAMPLE)
        return X[::step], None if w is None else w[::step]

    def _first_block(self, blocks: Blocks, who: str) -> tuple[Array, Array, Array | None]:
        """Return copies of the first rows of a stream, their values checked."""
        passing = iter([blocks.head(_SAMPLE)]) if isinstance(blocks, StreamBlocks) else blocks.blocks()
        try:
            for given in passing:
                block = check_block(who, given, None, None, 0)
                X, y, w = (None if part is None else part[:_SAMPLE].copy() for part in block)
                assert X is not None
                assert y is not None
                if len(X):
                    name_bad_value(who, (X, y, w), getattr(blocks, "feature_names", None), 0)
                    return X, y, w
        finally:
            if hasattr(passing, "close"):
                passing.close()
        raise ValueError(
            f"{who}: the stream gave no rows, and a fit needs at least one; look at its paths and filters."
        )

    def _width(self, blocks: Blocks, who: str) -> int:
        """Return how many features a stream has, without reading it where it says so itself."""
        names = getattr(blocks, "feature_names", None)
        return self._first_block(blocks, who)[0].shape[1] if names is None else len(names)

    def _set_names(self, blocks: Blocks, features: int) -> None:
        """Take a stream's number and names of columns, as ``fit`` takes a table's; x0, x1, … are those of no table."""
        self.n_features_in_ = features
        names = getattr(blocks, "feature_names", None)
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        numbered = names is not None and list(names) == [f"x{j}" for j in range(features)]
        if (
            names is not None
            and not numbered
            and len(names) == features
            and all(isinstance(name, str) for name in names)
        ):
            self.feature_names_in_: Any = np.asarray(names, dtype=object)

    def _names(self) -> list[str]:
        """Return the columns' names, or x0, x1, …"""
        names: Any = getattr(self, "feature_names_in_", None)
        return [f"x{j}" for j in range(self.n_features_in_)] if names is None else [str(name) for name in names]

r"""Least squares and ridge regression, from ten rows to more than memory holds."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if

from thalweg.data import Source
from thalweg.optim import Rule

from .blocks import Array, ArrayBlocks, Blocks, as_tensor, blocks_of, check_block
from .closed_form import ClosedForm, check_closed_form
from .coordinates import Curvature
from .descent import Descent, over_batches, over_rows
from .fitted_least_squares import FittedLeastSquares
from .link import Squared
from .memory import check_fits, fits
from .moments import Moments
from .reduced import reduce_moments
from .solution import from_moments

__all__ = ["LeastSquares"]


def _grows(estimator: Any) -> bool:
    if estimator.solver == "gd":
        raise AttributeError(
            "LeastSquares.partial_fit: solver='gd' takes all rows at once; use solver='closed_form', which adds rows "
            "up exactly, or 'sgd'."
        )
    return True


class LeastSquares(RegressorMixin, FittedLeastSquares):  # type: ignore[misc]  # scikit-learn ships no types
    r"""Least squares with scikit-learn's contract, by the closed form, gradient descent or SGD.

    .. math:: \min_{w, b} \; \sum_i w_i\,(y_i - x_i^\top w - b)^2 + α \lVert w \rVert^2

    ===============  ==================================================================================================
    solver           how
    ===============  ==================================================================================================
    ``closed_form``  in memory: QR of blocks of rows, then the singular values of R (rank-revealing, nothing inverted);
                     streamed: the Gram matrix in one pass, and QR where the accuracy demands it
    ``gd``           the gradient over all rows; streamed: the same iterates out of one pass's sums
    ``sgd``          one update per batch, ``epochs`` times over the rows
    ``auto``         ``closed_form`` where its matrices fit into memory, else ``gd`` (``sgd`` for a stream)
    ===============  ==================================================================================================

    Args:
        solver: see above.
        alpha: ridge :math:`α \ge 0`, in the units of scikit-learn's ``Ridge``; the intercept is not penalised.
        fit_intercept: whether there is a b.
        precision: of streamed sums: ``"high"`` in float64; ``"fast"`` products in float32 blocks, sums in float64.
        qr: streamed closed form: ``"auto"`` reads the rows a second time, for QR, where the bound of the first pass is
            worse than *accuracy*; True does QR in the first pass; False never.
        accuracy: relative error of the coefficients that rounding may cause (see ``accuracy_``); None is 1e-6 with
            ``"high"`` and 1e-2 with ``"fast"``.
        optimizer: rule of the iterative solvers, an object, a name or plain data; None is SGD at a rate found in the
            data: for ``gd`` :math:`1 / λ_1` with Nesterov momentum 0.9, for ``sgd``
            :math:`m / (β + (m - 1) λ_1)` with batches of m rows of squared norm at most β.
        schedule: anything that ``tw.schedule`` makes; None is constant for ``gd``, and falls linearly to zero for
            ``sgd`` (as :math:`t^{-1/2}` where the number of batches is unknown; constant in ``partial_fit``).
        max_iter: updates of ``gd`` at most.
        tol: ``gd`` stops when the mean loss's gradient, in the rule's coordinates, is at most *tol* standard deviations
            of y; None is 1e-10 in float64 and 1e-5 in float32.
        epochs: passes of ``sgd``.
        batch_size: rows per update of ``sgd``; a stream has its own.
        standardize: whether the rule works on columns of mean 0 and variance 1, an exact change of variables (the
            penalty stays that of the original ones).
        dtype: ``"float32"`` or ``"float64"`` of data and coefficients; None keeps float32, and the rest is float64.
        random_state: of the order of rows in ``sgd``.
        verbose: whether a bar shows what takes longer than a second.

    Attributes:
        coef_: **(p,)**, or **(t, p)** where y is **(n, t)**.
        intercept_: a float, or **(t,)**; 0 without an intercept.
        solver_: what ``auto`` became; for the closed form also ``"gram"`` or ``"qr"`` in ``accuracy_.method``.
        condition_number_: of the (centred) columns, the ridge included; infinite where the rank is not full. With an
            iterative solver that of the standardised columns of a sample.
        rank_, singular_values_: of the closed form, else None.
        accuracy_: bounds on what rounding has done (`Accuracy`), or None.
        rss_: :math:`\sum w_i r_i^2`, summed over targets; r2_: as ``score`` would say of the training rows; both None
            after SGD from a stream, where ``score_stream`` reads them.
        residuals_: y − prediction, shaped like y, in memory; None from a stream.
        standard_errors_, intercept_standard_error_: where they are defined (closed form, α = 0, full rank, more rows
            than coefficients), else None.
        path_: the iterates (`Path`).
        n_iter_: passes of the closed form, updates of ``gd``, epochs of ``sgd``.
        n_features_in_, feature_names_in_: as in scikit-learn.

    Raises:
        ValueError: settings that cannot work, NaN or infinities (with row and column), too many features for a closed
            form.

    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = LeastSquares().fit(X, np.array([1.0, 3.0, 5.0, 8.0]))
    >>> model.coef_.round(6).tolist(), round(model.intercept_, 6), round(model.r2_, 6)
    ([2.3], 0.8, 0.988785)
    >>> model.standard_errors_.round(4).tolist()
    [0.1732]
    """

    solvers = ("auto", "closed_form", "gd", "sgd")

    def __init__(
        self,
        solver: str = "auto",
        alpha: float = 0.0,
        fit_intercept: bool = True,
        *,
        precision: str = "high",
        qr: bool | str = "auto",
        accuracy: float | None = None,
        optimizer: Any = None,
        schedule: Any = None,
        max_iter: int = 10_000,
        tol: float | None = None,
        epochs: int = 10,
        batch_size: int = 256,
        standardize: bool = True,
        dtype: Any = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.solver = solver
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.precision = precision
        self.qr = qr
        self.accuracy = accuracy
        self.optimizer = optimizer
        self.schedule = schedule
        self.max_iter = max_iter
        self.tol = tol
        self.epochs = epochs
        self.batch_size = batch_size
        self.standardize = standardize
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    # ------------------------------------------------------------------------------------------------------- fitting

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit rows in memory.

        Args:
            X: features **(n, p)**, an array or a table.
            y: targets **(n,)** or **(n, t)**.
            sample_weight: weights **(n,)**, >= 0; a row of weight 2 counts as two rows in the coefficients. For
                standard errors weights are precisions: the error of row i has variance σ²/w_i.
        """
        self._begin()
        who = "LeastSquares.fit"
        X, y = self._features(X, True, who, y=y, multi_output=True, y_numeric=True)
        w = self._weights(sample_weight, X)
        Y = y.reshape(len(y), -1).astype(X.dtype, copy=False)
        solver = self.solver
        if solver == "auto":
            solver = "closed_form" if fits(min(X.shape), Y.shape[1]) else "gd"
        self.solver_ = solver
        if solver == "closed_form":
            check_fits(who, min(X.shape), Y.shape[1])
            self._take(self._closed_form().by_triangle(who, ArrayBlocks(X, Y, w)), X.dtype, y.ndim == 1)
            self.n_iter_ = 1
        elif solver == "gd":
            self._descend(X, Y, w, y.ndim == 1)
        else:
            weight = float(len(X)) if w is None else float(w.sum())
            descent = self._by_batches(
                Squared(),
                Y.shape[1],
                self._memory_source(X, Y, w),
                self._sample(X, w),
                weight=weight,
                mean_weight=weight / len(X),
                batch=int(self.batch_size),
                dtype=X.dtype,
                who=who,
            )
            self._take_descent(descent, y.ndim == 1)
        self._note_residuals(X, y, w)
        return self

    def fit_stream(self, source: Any) -> Self:
        """Fit rows that need not fit into memory.

        Args:
            source: ``tw.data.stream(...)`` with a target, or arrays ``(X, y)`` or ``(X, y, w)`` (memory maps too).

        Raises:
            ValueError: a NaN or infinity (row and column), no rows, blocks of different shapes, a source that changed
                between two passes, too many features for a closed form.
            TypeError: something that gives no blocks.

        >>> X = np.arange(12.0).reshape(6, 2) ** 2
        >>> model = LeastSquares().fit_stream((X, X @ [1.0, -2.0] + 3.0))
        >>> model.coef_.round(9).tolist(), round(model.intercept_, 8)
        ([1.0, -2.0], 3.0)
        """
        self._begin()
        who = "LeastSquares.fit_stream"
        blocks = blocks_of(source, who)
        self.residuals_ = None
        if self.solver == "sgd":
            self._stream_sgd(source, blocks, who)
            return self
        features = self._width(blocks, who)
        self.solver_ = self.solver
        if self.solver == "auto":
            self.solver_ = "closed_form" if fits(features, 1) else "sgd"
        if self.solver_ == "sgd":
            self._stream_sgd(source, blocks, who)
            return self
        check_fits(who, features, 1)
        self._set_names(blocks, features)
        if self.solver_ == "gd":
            moments = self._closed_form().moments(who, blocks)
            self._descend_moments(moments, moments.targets == 1, self._kept_dtype(moments.dtype))
        else:
            solution, self.n_iter_ = self._closed_form().streamed(who, blocks)
            self._take(solution, self._kept_dtype(solution.dtype), len(solution.coef) == 1)
        return self

    @available_if(_grows)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit more rows.

        With the closed form the rows' products are added to those before, so that the result is that of all rows
        together. With ``sgd`` the rows are gone through once, in their order, in batches; α is then divided by the rows
        of this call, as if they were all. After ``fit`` the first call begins anew.

        Args:
            X: features **(b, p)**.
            y: targets **(b,)** or **(b, t)**.
            sample_weight: weights **(b,)**, >= 0.
        """
        first = not hasattr(self, "_grown")
        if first:
            self._begin()
        self._check_settings()
        who = "LeastSquares.partial_fit"
        X, y = self._features(X, first, who, y=y, multi_output=True, y_numeric=True)
        w = self._weights(sample_weight, X)
        Y = y.reshape(len(y), -1).astype(X.dtype, copy=False)
        self.solver_ = "sgd" if self.solver == "sgd" else "closed_form"
        self.residuals_ = None
        if not first:
            targets = self._grown.targets if isinstance(self._grown, Moments) else len(self._grown.bias)
            check_block(who, (X, Y, w), None, targets, 0)
        if self.solver_ == "closed_form":
            check_fits(who, X.shape[1], Y.shape[1])
            if first:
                self._grown: Any = self._closed_form().empty(X.shape[1], Y.shape[1], 1)
            self._grown.add(X, Y, w)
            self.n_iter_ = getattr(self, "n_iter_", 0) + 1
            self._take(from_moments(self._grown, float(self.alpha)), X.dtype, y.ndim == 1)
            return self
        weight = float(len(X)) if w is None else float(w.sum())
        if first:
            self._grown = self._descent(
                Squared(),
                Y.shape[1],
                self._sample(X, w),
                weight=weight,
                mean_weight=weight / len(X),
                batch=int(self.batch_size),
                total_steps=None,
                steps_per_epoch=None,
                schedule=self.schedule,
                dtype=X.dtype,
            )
        self._grown.ridge = self._ridge(weight)
        parts = [torch.split(as_tensor(part), int(self.batch_size)) for part in (X, Y, w) if part is not None]
        over_batches(self._grown, [zip(*parts, strict=True)], who)
        self._take_descent(self._grown, y.ndim == 1)
        self.n_iter_ = getattr(self, "n_iter_", 0) + 1
        return self

    # ----------------------------------------------------------------------------------------------- the ways to do it

    def _begin(self) -> None:
        self._check_settings()
        check_closed_form(type(self).__name__, self.precision, self.qr, self.accuracy)
        if hasattr(self, "_grown"):
            del self._grown
            del self.n_iter_

    def _closed_form(self) -> ClosedForm:
        precision: Any = self.precision
        return ClosedForm(
            alpha=float(self.alpha),
            centred=bool(self.fit_intercept),
            precision=precision,
            qr=self.qr,
            accuracy=self.accuracy,
            progress=bool(self.verbose),
        )

    def _descend(self, X: Array, Y: Array, w: Array | None, single: bool) -> None:
        """Gradient descent over rows in memory."""
        weight = float(len(X)) if w is None else float(w.sum())
        descent = self._descent(
            Squared(),
            Y.shape[1],
            (X, w),
            weight=weight,
            mean_weight=weight / len(X),
            batch=None,
            total_steps=int(self.max_iter),
            steps_per_epoch=1,
            schedule=self.schedule,
            dtype=X.dtype,
        )
        spread = float(np.sqrt(np.average((Y - np.average(Y, axis=0, weights=w)) ** 2, axis=0, weights=w)).max())
        weights = None if w is None else as_tensor(w).to(descent.dtype)
        self._run(descent, as_tensor(X), as_tensor(Y), weights, spread)
        self._take_descent(descent, single)

    def _descend_moments(self, moments: Moments, single: bool, dtype: Any) -> None:
        """Gradient descent out of one pass's sums."""
        reduced = reduce_moments(moments)

        def rule(curvature: Curvature) -> Rule:
            self.condition_number_ = curvature.condition
            return self._rule(curvature, None)

        descent = reduced.descent(
            ridge=self._ridge(reduced.weight),
            standardize=bool(self.standardize),
            rule=rule,
            schedule=self.schedule,
            steps=int(self.max_iter),
        )
        spread = float(np.sqrt(reduced.squares.max() / reduced.weight))
        self._run(descent, *reduced.rows(), None, spread)
        self._take_descent(descent, single)
        coef, _ = descent.final()
        p = moments.features
        self._set_linear(coef, reduced.means[p:] - coef @ reduced.means[:p], dtype, single)
        self._set_fit(reduced.rss(coef), reduced.tss)

    def _run(self, descent: Descent, x: Any, y: Any, w: Any, spread: float) -> None:
        tol = (1e-10 if descent.dtype is torch.float64 else 1e-5) if self.tol is None else self.tol
        done = over_rows(descent, x, y, w, int(self.max_iter), tol * spread)
        descent.finish()
        self.n_iter_ = max(1, descent.steps)
        if not done:
            warnings.warn(
                f"LeastSquares: gradient descent has not converged after max_iter={self.max_iter} updates: its "
                f"gradient is {descent.gradient_norm() / (spread or 1.0):.2g} standard deviations of y, tol={tol:g}; "
                f"the standardised columns have condition number {self.condition_number_:.3g}. Raise max_iter or "
                "tol, or use solver='closed_form'.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _stream_sgd(self, source: Any, blocks: Blocks, who: str) -> None:
        X, y, w = self._first_block(blocks, who)
        self.solver_ = "sgd"
        self._set_names(blocks, X.shape[1])
        dtype = self._kept_dtype(X.dtype)
        if isinstance(source, Source):
            feed = source
        else:
            assert isinstance(blocks, ArrayBlocks), "what is no source came as arrays"
            feed = self._memory_source(blocks.X, blocks.y, blocks.w)
        mean = 1.0 if w is None else float(w.mean(dtype=np.float64))
        if self.alpha and feed.n is None:
            raise ValueError(
                f"{who}: alpha={self.alpha} is shared out among all rows, and this source does not say how many there "
                "are; use alpha=0 or solver='closed_form'."
            )
        descent = self._by_batches(
            Squared(),
            y.shape[1],
            feed,
            (X, w),
            weight=mean * (feed.n or 1),
            mean_weight=mean,
            batch=int(feed.batch_size or self.batch_size),
            dtype=dtype,
            who=who,
        )
        self._take_descent(descent, y.shape[1] == 1)
        self.rss_ = self.r2_ = None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

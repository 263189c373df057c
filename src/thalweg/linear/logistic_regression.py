r"""Logistic and softmax regression, in memory or from a stream."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from thalweg.data import Source

from .blocks import Array, ArrayBlocks, Blocks, as_tensor, blocks_of, check_block, name_bad_value
from .coordinates import curvature_of, standardising
from .descent import over_batches, over_blocks
from .fitted_logistic_regression import FittedLogisticRegression
from .newton import LARGEST_HESSIAN, Objective, minimise

__all__ = ["LogisticRegression"]

_ROWS = 1 << 13


def _grows(estimator: Any) -> bool:
    if estimator.solver != "sgd":
        raise AttributeError(
            f"LogisticRegression.partial_fit: solver={estimator.solver!r} takes all rows at once; use solver='sgd'."
        )
    return True


class LogisticRegression(ClassifierMixin, FittedLogisticRegression):  # type: ignore[misc]  # scikit-learn ships no types
    r"""Logistic regression for two classes, softmax regression for more, with scikit-learn's contract.

    .. math:: \min_{W, b} \; \sum_i w_i\, \ell(x_i W^\top + b,\, y_i) + \frac{α}{2} \lVert W \rVert^2

    with :math:`\ell` the cross entropy of σ (one predictor, for the second class) or softmax (one per class). α is
    1 / C of scikit-learn's ``LogisticRegression``; the intercept is not penalised.

    =============  ====================================================================================================
    solver         how
    =============  ====================================================================================================
    ``newton``     Newton's method in float64: one pass over the rows per iteration, about eight of them; the Hessian is
                   formed up to 1,500 parameters, and beyond that (in memory) multiplied with by conjugate gradients
    ``gd``         the gradient over all rows (one pass each)
    ``sgd``        one update per batch, ``epochs`` times over the rows
    ``auto``       ``newton``; for a stream with more than 1,500 parameters ``sgd``
    =============  ====================================================================================================

    Args:
        solver: see above. There is no closed form.
        alpha: ridge :math:`α \ge 0`.
        fit_intercept: whether there is a b.
        optimizer: rule of the iterative solvers, an object, a name or plain data; None is SGD at a rate found in the
            data, as in `LeastSquares`.
        schedule: anything that ``tw.schedule`` makes; None as in `LeastSquares`.
        max_iter: steps of ``newton`` or updates of ``gd`` at most.
        tol: ``newton`` stops when what is left to gain is at most tol² per unit of weight, ``gd`` when the mean loss's
            gradient in the rule's coordinates is at most *tol*; None is 1e-8 (``gd`` in float32 1e-5).
        epochs: passes of ``sgd``.
        batch_size: rows per update of ``sgd``; a stream has its own.
        standardize: whether the solver works on columns of mean 0 and variance 1, an exact change of variables.
        dtype: ``"float32"`` or ``"float64"`` of data and coefficients; None keeps float32 and takes the rest as
            float64.
        random_state: of the order of rows in ``sgd``.
        verbose: whether a bar shows what takes longer than a second.

    Attributes:
        classes_: the classes, sorted, **(K,)**.
        coef_: **(1, p)** for two classes, else **(K, p)**, whose sum over the classes is 0 at the optimum.
        intercept_: **(1,)** or **(K,)**.
        loss_: the objective per unit of weight at the end, or None after ``sgd`` from a stream.
        condition_number_: of the standardised columns of (a sample of) the rows.
        standard_errors_, intercept_standard_error_: from the inverse Fisher information, where they are defined:
            ``newton``, two classes, α = 0, columns that do not depend on each other; else None.
        path_: the iterates (`Path`).
        solver_, n_iter_, n_features_in_, feature_names_in_: as in `LeastSquares`.

    Raises:
        ValueError: settings that cannot work, NaN or infinities, fewer than two classes.

    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = LogisticRegression().fit(X, ["a", "a", "b", "b"])
    >>> model.coef_.round(4).tolist(), model.predict([[0.5], [2.5]]).tolist()
    ([[0.9583]], ['a', 'b'])
    """

    solvers = ("auto", "newton", "gd", "sgd")

    def __init__(
        self,
        solver: str = "auto",
        alpha: float = 1.0,
        fit_intercept: bool = True,
        *,
        optimizer: Any = None,
        schedule: Any = None,
        max_iter: int = 1000,
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
            y: classes **(n,)**, numbers or strings.
            sample_weight: weights **(n,)**, >= 0; a row of weight 2 counts as two rows.
        """
        self._begin()
        who = "LogisticRegression.fit"
        X, y = self._features(X, True, who, y=y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        w = self._weights(sample_weight, X)
        if w is not None:  # a class whose rows all have weight 0 is not there
            X, y, w = X[w > 0], y[w > 0], w[w > 0]
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._check_classes(who)
        Y = codes.reshape(-1, 1).astype(X.dtype)
        self.solver_ = "newton" if self.solver == "auto" else self.solver
        weight = float(len(X)) if w is None else float(w.sum())
        if self.solver_ == "sgd":
            descent = self._by_batches(
                self._link(),
                self._outputs(),
                self._memory_source(X, Y, w),
                self._sample(X, w),
                weight=weight,
                mean_weight=weight / len(X),
                batch=int(self.batch_size),
                dtype=X.dtype,
                who=who,
            )
            self._take_descent(descent)
            self.loss_ = self._loss_of(X, Y, w, weight)
        else:
            self._by_passes(who, ArrayBlocks(X, Y, w, rows=_ROWS), (X, w), weight, X.dtype, coded=True)
        return self

    def fit_stream(self, source: Any, classes: Any = None) -> Self:
        """Fit rows that need not fit into memory.

        Args:
            source: ``tw.data.stream(...)`` with a target of class numbers, or arrays ``(X, y)`` or ``(X, y, w)``.
            classes: the classes there are, **(K,)**; None reads the targets once to find out.

        Raises:
            ValueError: as in `fit`; a class that is not among *classes*; too many parameters for ``newton``.
            TypeError: something that gives no blocks.
        """
        self._begin()
        who = "LogisticRegression.fit_stream"
        blocks = blocks_of(source, who)
        X, _, w = self._first_block(blocks, who)
        features = X.shape[1]
        self._set_names(blocks, features)
        n, weight = self._look_through(blocks, classes, who)
        self._check_classes(who)
        large = self._outputs() * (features + 1) > LARGEST_HESSIAN
        self.solver_ = ("sgd" if large else "newton") if self.solver == "auto" else self.solver
        if self.solver_ == "newton" and large:
            raise ValueError(
                f"{who}: newton forms a Hessian of {self._outputs() * (features + 1):,} parameters over a stream, and "
                f"{LARGEST_HESSIAN:,} is the most; use solver='sgd'."
            )
        dtype = self._kept_dtype(X.dtype)
        if self.solver_ != "sgd":
            self._by_passes(who, blocks, (X, w), weight, dtype, coded=False)
            return self
        if isinstance(source, Source):
            feed = source
        else:
            assert isinstance(blocks, ArrayBlocks), "what is no source came as arrays"
            feed = self._memory_source(blocks.X, self._codes(blocks.y, who, 0), blocks.w)

        def coded(batch: Any) -> Any:
            x, y, *rest = batch
            return x, torch.from_numpy(self._codes(y.numpy(), who, 0)), *rest

        descent = self._by_batches(
            self._link(),
            self._outputs(),
            feed,
            (X, w),
            weight=weight,
            mean_weight=weight / n,
            batch=int(feed.batch_size or self.batch_size),
            dtype=dtype,
            who=who,
            targets=coded if isinstance(source, Source) else None,
        )
        self._take_descent(descent)
        return self

    @available_if(_grows)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Go through more rows once, in their order, in batches (``solver="sgd"``).

        α is divided by the rows of this call, as if they were all. After ``fit`` the first call begins anew, with its
        classes.

        Args:
            X: features **(b, p)**.
            y: classes **(b,)**.
            classes: all classes there will be; needed in the first call of an estimator that was not fitted.
            sample_weight: weights **(b,)**, >= 0.
        """
        first = not hasattr(self, "_grown")
        who = "LogisticRegression.partial_fit"
        if first:
            self._begin()
            classes = getattr(self, "classes_", None) if classes is None else classes
            if classes is None:
                raise ValueError(f"{who}: the first call cannot know all classes from its rows; pass classes=….")
        self._check_settings()
        X, y = self._features(X, first, who, y=y)
        y = column_or_1d(y, warn=True)
        w = self._weights(sample_weight, X)
        if first:
            self.classes_ = np.unique(classes)
            self._check_classes(who)
        Y = self._codes(y, who, 0).astype(X.dtype)
        weight = float(len(X)) if w is None else float(w.sum())
        self.solver_ = "sgd"
        if first:
            self._grown = self._descent(
                self._link(),
                self._outputs(),
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
        self._take_descent(self._grown)
        self.n_iter_ = getattr(self, "n_iter_", 0) + 1
        return self

    # ----------------------------------------------------------------------------------------------- the ways to do it

    def _begin(self) -> None:
        self._check_settings()
        if hasattr(self, "_grown"):
            del self._grown
            del self.n_iter_

    def _check_settings(self) -> None:
        if self.solver == "closed_form":
            raise ValueError(
                "LogisticRegression: solver='closed_form' was asked for, but the logistic loss has none; "
                "solver='newton' (or 'auto') comes to the exact minimum in about eight passes."
            )
        super()._check_settings()

    def _by_passes(
        self, who: str, blocks: Blocks, sample: tuple[Array, Array | None], weight: float, dtype: Any, *, coded: bool
    ) -> None:
        """Newton's method or gradient descent, a pass over all rows per iteration."""

        def rows() -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
            offset = 0
            for given in blocks.blocks():
                X, y, w = check_block(who, given, self.n_features_in_, 1, offset)
                for start in range(0, len(X), _ROWS):
                    part = slice(start, start + _ROWS)
                    codes = y[part] if coded else self._codes(y[part], who, offset + start)
                    here = None if w is None else as_tensor(w[part]).to(torch.float64)
                    yield as_tensor(X[part]), as_tensor(codes).to(torch.float64), here
                offset += len(X)

        if self.solver_ == "gd":
            self._descend(rows, sample, weight, dtype)
            return
        X, w = sample
        at = standardising(X, w, bool(self.fit_intercept), bool(self.standardize))
        self.condition_number_ = curvature_of(X, w, at, 0.0, bool(self.fit_intercept), 1.0).condition
        objective = Objective(self._link(), self._outputs(), at, float(self.alpha), bool(self.fit_intercept))
        found = minimise(objective, rows, int(self.max_iter), 1e-8 if self.tol is None else self.tol, weight)
        if not np.isfinite(found.last.loss):
            for given in blocks.blocks():
                name_bad_value(who, check_block(who, given, None, 1, 0), None, 0)
        if not found.converged:
            warnings.warn(
                f"LogisticRegression: Newton's method has not converged after {found.iterations} steps; "
                f"alpha={self.alpha} may be too small for classes that can be told apart without error, whose "
                "coefficients grow without end. Raise alpha or max_iter.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self._take_newton(found, objective, at, weight, dtype)

    def _descend(self, rows: Any, sample: tuple[Array, Array | None], weight: float, dtype: Any) -> None:
        """Gradient descent: the gradients of the blocks added up, then one update."""
        descent = self._descent(
            self._link(),
            self._outputs(),
            sample,
            weight=weight,
            mean_weight=1.0,
            batch=None,
            total_steps=int(self.max_iter),
            steps_per_epoch=1,
            schedule=self.schedule,
            dtype=dtype,
        )
        tol = (1e-8 if descent.dtype is torch.float64 else 1e-5) if self.tol is None else self.tol
        done = over_blocks(descent, rows, weight, int(self.max_iter), tol)
        descent.finish()
        self.n_iter_ = max(1, descent.steps)
        self._take_descent(descent)
        self.loss_ = float(self.path_.loss[-2]) if len(self.path_) > 1 else None
        if not done:
            warnings.warn(
                f"LogisticRegression: gradient descent has not converged after max_iter={self.max_iter} updates: the "
                f"gradient's norm is {descent.gradient_norm():.2g}, tol={tol:g}. Raise max_iter or tol, or use "
                "solver='newton'.",
                ConvergenceWarning,
                stacklevel=4,
            )

"""Classes, probabilities and predictions of logistic regression, and what is known after it was fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .blocks import Array, Blocks, as_tensor, blocks_of, check_block, name_bad_value
from .coordinates import Coordinates
from .descent import Descent
from .link import Link, Logistic, Softmax
from .model import LinearModel
from .newton import Newton, Objective, in_data_coordinates
from .path import Path

__all__ = ["FittedLogisticRegression"]


class FittedLogisticRegression(LinearModel):
    """The part of `LogisticRegression` that holds a result and predicts."""

    def _outputs(self) -> int:
        """Return how many predictors there are: one for two classes, else one per class."""
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _link(self) -> Link:
        return Logistic() if len(self.classes_) == 2 else Softmax()

    def _check_classes(self, who: str) -> None:
        if len(self.classes_) < 2:
            raise ValueError(
                f"{who}: y holds one class only, {self.classes_.tolist()}, and a classifier tells at least two apart; "
                "look at the target (and at the weights, if there are some)."
            )

    def _codes(self, y: Array, who: str, offset: int) -> Array:
        """Return the number of each row's class, float64, shaped like *y*.

        Raises:
            ValueError: a class that is not known.
        """
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = self.classes_[codes] != y
        if unknown.any():
            row = int(np.argmax(unknown.reshape(len(y), -1).any(1)))
            raise ValueError(
                f"{who}: the class of row {offset + row} is {np.ravel(y[row])[0]!r}, which is not among the known "
                f"classes {self.classes_.tolist()}; pass all of them as classes=…."
            )
        return codes.astype(np.float64).reshape(len(y), -1)

    def _look_through(self, blocks: Blocks, classes: Any, who: str) -> tuple[int, float]:
        """Find the classes where they are not given, and return rows and weight of a stream.

        The targets are read once for that, unless the classes are given and the stream knows its number of rows and
        has no weights.
        """
        known = getattr(blocks, "n", None)
        if classes is not None:
            self.classes_ = np.unique(classes)
        n, weight = 0, 0.0
        found: Array | None = None
        for given in blocks.blocks():
            block = check_block(who, given, None, 1, n)
            _, y, w = block
            if classes is not None and w is None and known is not None:
                return int(known), float(known)
            name_bad_value(who, (block[0][:0], y, w), None, n)
            here = np.unique(y)
            found = here if found is None else np.union1d(found, here)
            n += len(y)
            weight += float(len(y)) if w is None else float(w.sum(dtype=np.float64))
        if classes is None:
            assert found is not None, "a first block was seen before"
            self.classes_ = found
        return n, weight

    def _take_linear(self, coef: Array, intercept: Array, dtype: Any) -> None:
        self.coef_ = coef.astype(dtype)
        self.intercept_ = intercept.astype(dtype) if self.fit_intercept else np.zeros(len(coef), dtype)
        self.standard_errors_: Array | None = None
        self.intercept_standard_error_: Array | None = None
        self.loss_: float | None = None

    def _take_descent(self, descent: Descent) -> None:
        coef, intercept = descent.final()
        self._take_linear(coef, intercept, coef.dtype)
        if descent.steps:
            self.path_ = descent.keeper.path()

    def _take_newton(self, found: Newton, objective: Objective, at: Coordinates, weight: float, dtype: Any) -> None:
        coef, intercept = in_data_coordinates(found.theta, at)
        self._take_linear(coef, intercept, dtype)
        self.loss_ = found.last.loss / weight
        self.n_iter_ = found.iterations
        way = [in_data_coordinates(theta, at) for theta in found.thetas]
        losses = np.append(np.array(found.losses[: len(way) - 1]) / weight, np.nan)
        self.path_ = Path(
            np.arange(len(way)), np.stack([coef for coef, _ in way]), np.stack([own for _, own in way]), losses
        )
        if self.alpha == 0 and len(coef) == 1 and found.last.hessian is not None and found.converged:
            self._note_errors(found.last.hessian.numpy(), at)

    def _note_errors(self, information: Array, at: Coordinates) -> None:
        """Note standard errors from the Fisher information of the standardised coordinates."""
        own = np.diagonal(information)
        used = np.flatnonzero(own > 0)
        p = len(at.scale)
        if len(used) < p + int(bool(self.fit_intercept)):
            return
        d = np.sqrt(own[used])
        values, Q = np.linalg.eigh(information[np.ix_(used, used)] / np.outer(d, d))
        if values[0] <= 1e-13 * len(values) * values[-1]:
            return
        back = Q / np.sqrt(values) / d[:, None]  # back · backᵀ is the inverse information
        errors = np.sqrt((back[:p] ** 2).sum(1)) / at.scale
        self.standard_errors_ = errors[None]
        if self.fit_intercept:  # b = b' − (m / s) · v
            row = back[p] - (at.shift / at.scale) @ back[:p]
            self.intercept_standard_error_ = np.sqrt([(row**2).sum()])

    def _loss_of(self, X: Array, Y: Array, w: Array | None, weight: float) -> float:
        """Return the objective per unit of weight over rows in memory."""
        z = torch.from_numpy(X @ self.coef_.T + self.intercept_).to(torch.float64)
        each = self._link().losses(z, as_tensor(Y).to(torch.float64)).numpy()
        total = float(each.sum() if w is None else each @ w)
        return (total + float(self.alpha) / 2 * float((self.coef_.astype(np.float64) ** 2).sum())) / weight

    # ---------------------------------------------------------------------------------------------------- afterwards

    def decision_function(self, X: Any) -> Array:
        """Return the predictors: **(n,)** for two classes, else **(n, K)**.

        Args:
            X: features **(n, p)**.
        """
        z = self._linear(X)
        return z[:, 0] if z.shape[1] == 1 else z

    def predict(self, X: Any) -> Array:
        """Return the most probable class of every row, **(n,)**.

        Args:
            X: features **(n, p)**.
        """
        z = self._linear(X)
        codes = (z[:, 0] > 0).astype(int) if z.shape[1] == 1 else z.argmax(1)
        found: Array = self.classes_[codes]
        return found

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, **(n, K)**, in the order of ``classes_``.

        Args:
            X: features **(n, p)**.
        """
        z = torch.from_numpy(self._linear(X))
        if z.shape[1] == 1:
            z = torch.cat([-z, z], 1)
            return torch.sigmoid(z).numpy()
        return torch.softmax(z, 1).numpy()

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities, **(n, K)**, without losing the small ones.

        Args:
            X: features **(n, p)**.
        """
        z = torch.from_numpy(self._linear(X))
        if z.shape[1] == 1:
            return torch.nn.functional.logsigmoid(torch.cat([-z, z], 1)).numpy()
        return torch.log_softmax(z, 1).numpy()

    def score_stream(self, source: Any) -> float:
        """Return the share of rows of a stream whose class is predicted, by weight.

        Args:
            source: as in ``fit_stream``.
        """
        check_is_fitted(self)
        right = weight = 0.0
        offset = 0
        for given in blocks_of(source, "LogisticRegression.score_stream").blocks():
            X, y, w = check_block("LogisticRegression.score_stream", given, self.n_features_in_, 1, offset)
            z = X @ self.coef_.T + self.intercept_
            codes = (z[:, 0] > 0).astype(int) if z.shape[1] == 1 else z.argmax(1)
            hits = self.classes_[codes] == y[:, 0]
            right += float(hits.sum() if w is None else hits @ w)
            weight += float(len(y)) if w is None else float(w.sum(dtype=np.float64))
            offset += len(y)
        return right / weight

"""Logistic and softmax regression against scikit-learn's at the same penalty, and against statistics by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Theirs

import thalweg as tw
from thalweg.linear import LogisticRegression
from thalweg.linear.blocks import ArrayBlocks

DATA = {"two classes": load_breast_cancer(return_X_y=True), "three classes": load_iris(return_X_y=True)}


def theirs(X: Any, y: Any, alpha: float, **more: Any) -> Any:
    """Return scikit-learn's fit; for several classes its intercepts are defined up to a constant, taken as sum 0."""
    model = Theirs(C=1 / alpha, solver="newton-cholesky", tol=1e-10, max_iter=1000, **more).fit(X, y)
    if len(model.intercept_) > 1:
        model.intercept_ = model.intercept_ - model.intercept_.mean()
    return model


@pytest.mark.parametrize("alpha", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("streamed", [False, True])
def test_it_is_scikit_learns_at_the_same_penalty(name: str, alpha: float, streamed: bool) -> None:
    X, y = DATA[name]
    model = LogisticRegression(alpha=alpha)
    model = model.fit_stream(ArrayBlocks(X, y, rows=100)) if streamed else model.fit(X, y)
    right = theirs(X, y, alpha)
    np.testing.assert_allclose(model.coef_, right.coef_, atol=1e-4 * abs(right.coef_).max())
    np.testing.assert_allclose(model.intercept_, right.intercept_, atol=1e-4 * max(1, abs(right.intercept_).max()))
    np.testing.assert_allclose(model.predict_proba(X), right.predict_proba(X), atol=1e-4)
    np.testing.assert_allclose(model.predict_log_proba(X), right.predict_log_proba(X), atol=1e-3)
    assert (model.predict(X) == right.predict(X)).all()
    assert model.n_iter_ <= 20


def test_digits_are_at_the_minimum_where_lbfgs_is_not_yet() -> None:
    """The gradient of the stated objective, by hand in float64, decides who is right about the intercepts.

    Pixels that are 0 in almost every image make the loss flat: at tol=1e-10 scikit-learn's lbfgs ends after 4,536
    iterations with a gradient of 2e-4 and intercepts 2.5e-2 from the minimum; its newton-cholesky comes to ours.
    """
    X, y = load_digits(return_X_y=True)
    model = LogisticRegression(alpha=1.0).fit(X, y)
    z = X @ model.coef_.T + model.intercept_
    r = np.exp(z - np.logaddexp.reduce(z, axis=1, keepdims=True)) - np.eye(10)[y]
    assert abs(r.T @ X + model.coef_).max() <= 1e-10
    assert abs(r.sum(0)).max() <= 1e-10
    right = theirs(X, y, 1.0)
    np.testing.assert_allclose(model.coef_, right.coef_, atol=1e-9)
    np.testing.assert_allclose(model.intercept_, right.intercept_, atol=1e-8)


def test_without_intercept_and_with_weights() -> None:
    X, y = DATA["three classes"]
    w = np.random.default_rng(0).integers(0, 4, len(X)).astype(float)
    model = LogisticRegression(fit_intercept=False).fit(X, y, w)
    right = Theirs(C=1.0, fit_intercept=False, solver="newton-cholesky", tol=1e-10).fit(X, y, w)
    np.testing.assert_allclose(model.coef_, right.coef_, atol=1e-4)
    assert (model.intercept_ == 0).all()
    streamed = LogisticRegression(fit_intercept=False).fit_stream((X, y, w))
    np.testing.assert_allclose(streamed.coef_, model.coef_, atol=1e-8)


def test_many_parameters_take_conjugate_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = DATA["three classes"]
    formed = LogisticRegression().fit(X, y)
    monkeypatch.setattr("thalweg.linear.newton.LARGEST_HESSIAN", 1)
    multiplied = LogisticRegression().fit(X, y)
    np.testing.assert_allclose(multiplied.coef_, formed.coef_, atol=1e-6)


@pytest.mark.parametrize("name", DATA)
def test_gradient_descent_converges_to_it(name: str) -> None:
    X, y = DATA[name]
    X = (X - X.mean(0)) / X.std(0)
    exact = LogisticRegression(alpha=5.0).fit(X, y)
    model = LogisticRegression("gd", alpha=5.0, max_iter=20_000).fit(X, y)
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-5)
    assert model.loss_ == pytest.approx(exact.loss_, abs=1e-10)
    assert model.path_.loss[-2] < model.path_.loss[0]


def test_sgd_ends_near_it_in_memory_and_streamed() -> None:
    X, y = DATA["two classes"]
    X = (X - X.mean(0)) / X.std(0)
    exact = LogisticRegression(alpha=5.0).fit(X, y)
    rule = tw.optim.Adam(lr=0.02)
    model = LogisticRegression("sgd", alpha=5.0, optimizer=rule, epochs=100, batch_size=64, random_state=0)
    assert model.fit(X, y).loss_ - exact.loss_ <= 1e-3
    assert abs(model.predict_proba(X) - exact.predict_proba(X)).max() <= 0.03
    model.fit_stream((X, y), classes=[0, 1])
    assert abs(model.predict_proba(X) - exact.predict_proba(X)).max() <= 0.03
    assert model.score_stream((X, y)) == pytest.approx(model.score(X, y))


def test_standard_errors_are_those_of_the_information_by_hand() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((500, 2)) + 1.0
    y = rng.random(500) < 1 / (1 + np.exp(-(X @ [1.0, -0.5] + 0.3)))
    model = LogisticRegression(alpha=0.0).fit(X, y)
    p = model.predict_proba(X)[:, 1]
    design = np.column_stack([X, np.ones(500)])
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))))
    np.testing.assert_allclose(model.standard_errors_[0], errors[:2], rtol=1e-6)
    np.testing.assert_allclose(model.intercept_standard_error_, errors[2:], rtol=1e-6)
    assert LogisticRegression().fit(X, y).standard_errors_ is None


def test_classes_may_be_words() -> None:
    X, y = DATA["three classes"]
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = LogisticRegression().fit(X, names)
    assert set(model.predict(X)) == set(names)
    assert model.decision_function(X).shape == (150, 3)


def test_partial_fit_learns_from_batches() -> None:
    X, y = DATA["two classes"]
    X = (X - X.mean(0)) / X.std(0)
    model = LogisticRegression("sgd", batch_size=32)
    for _ in range(5):
        for start in range(0, len(X), 200):
            model.partial_fit(X[start : start + 200], y[start : start + 200], classes=[0, 1])
    assert model.score(X, y) > 0.95


def test_separable_classes_without_a_penalty_have_no_minimum() -> None:
    X = np.arange(10.0).reshape(-1, 1)
    with pytest.warns(ConvergenceWarning, match="may be too small for classes that can be told apart"):
        LogisticRegression(alpha=0.0, max_iter=12).fit(X, X[:, 0] > 4)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda X, y: LogisticRegression("closed_form").fit(X, y), "the logistic loss has none; solver='newton'"),
        (lambda X, y: LogisticRegression("newtn").fit(X, y), "unknown solver 'newtn'. Did you mean 'newton'?"),
        (lambda X, y: LogisticRegression().fit(X, np.zeros(len(X))), "y holds one class only"),
        (lambda X, y: LogisticRegression("sgd").partial_fit(X, y), "cannot know all classes"),
        (
            lambda X, y: LogisticRegression().fit_stream((X, y), classes=[0, 1]),
            "class of row 100 is .*2.*not among",
        ),
        (
            lambda X, y: LogisticRegression("newton").fit_stream((np.ones((3, 800)), [0, 1, 2])),
            "of 2,403 param",
        ),
    ],
)
def test_what_cannot_work_is_refused(act: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        act(*DATA["three classes"])

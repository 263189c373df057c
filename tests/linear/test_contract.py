"""scikit-learn's contract: its own checks, tables in and out, clone, pipelines, grid search."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from thalweg.linear import LeastSquares, LogisticRegression

ESTIMATORS = [
    *(LeastSquares(solver) for solver in LeastSquares.solvers),
    *(LogisticRegression(solver) for solver in LogisticRegression.solvers),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda one: f"{type(one).__name__}-{one.solver}")
def test_scikit_learns_checks_pass_without_an_exception(estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)  # of what needs an environment variable of SciPy's
        results = check_estimator(estimator, on_fail="raise", expected_failed_checks=None)
    skipped = {result["check_name"] for result in results if result["status"] != "passed"}
    assert skipped <= {"check_array_api_input"}


def test_tables_give_their_names_and_are_compared_with_them() -> None:
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((40, 2)), columns=["age", "size"])
    target = pd.Series(frame["age"] * 2, name="price")
    model = LeastSquares().fit(frame, target, sample_weight=pd.Series(np.ones(40)))
    assert model.feature_names_in_.tolist() == ["age", "size"]
    assert isinstance(model.predict(frame), np.ndarray)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"age": "years"}))


@pytest.mark.parametrize("estimator", [LeastSquares(alpha=2.0), LogisticRegression(alpha=2.0)])
def test_pipelines_and_grid_search(estimator: Any) -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60, 3))
    y = (X[:, 0] > 0).astype(int)
    name = type(estimator).__name__.lower()
    grid = GridSearchCV(make_pipeline(StandardScaler(), estimator), {f"{name}__alpha": [0.1, 1.0, 1e6]}, cv=3)
    grid.fit(X, y)
    assert grid.best_params_[f"{name}__alpha"] < 1e6
    assert clone(estimator).get_params() == estimator.get_params()


def test_scikit_learn_is_imported_with_the_estimators_only() -> None:
    code = "import sys, thalweg as tw; print('sklearn' in sys.modules); tw.linear; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]

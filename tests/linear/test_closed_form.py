"""The closed form against NumPy's ``lstsq``, in memory and streamed, and its own word on its accuracy."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.linear.cases import EPS, PROBLEMS, Problem, error, with_condition
from thalweg.engine import c_compiler
from thalweg.linear import AccuracyWarning, LeastSquares
from thalweg.linear.blocks import ArrayBlocks
from thalweg.linear.moments import Moments
from thalweg.linear.triangle import Triangle
from thalweg.linear.workers import Workers

needs_compiler = pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")
each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


@each_problem
def test_in_memory_it_is_numpys_solution(problem: Problem) -> None:
    coef, intercept = problem.solution()
    model = LeastSquares(alpha=problem.alpha, fit_intercept=problem.intercept).fit(problem.X, problem.y)
    assert error(model.coef_, coef) <= 1e-8
    assert abs(model.intercept_ - intercept) <= 1e-8 * max(1.0, abs(intercept))
    assert model.rank_ == np.linalg.matrix_rank(problem.columns())


@each_problem
def test_streamed_in_float64_the_error_is_within_100_eps_times_the_squared_condition(problem: Problem) -> None:
    coef, _ = problem.solution()
    columns = problem.columns()
    if problem.alpha:
        columns = np.vstack([columns, np.sqrt(problem.alpha) * np.eye(columns.shape[1])])
    singular = np.linalg.svd(columns, compute_uv=False)
    rank = int((singular > 1e-12 * singular[0]).sum())
    condition = singular[0] / singular[rank - 1]  # of what the rank keeps
    model = LeastSquares(alpha=problem.alpha, fit_intercept=problem.intercept)
    model.fit_stream(ArrayBlocks(problem.X, problem.y, rows=130))
    assert error(model.coef_, coef) <= 100 * EPS * condition**2
    if model.n_iter_ == 1:
        assert model.accuracy_.method == "gram"
        assert model.accuracy_.relative_error <= 1e-6


@each_problem
@pytest.mark.parametrize("precision", ["high", "fast"])
def test_one_pass_stays_within_its_printed_bound(problem: Problem, precision: str) -> None:
    coef, _ = problem.solution()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        model = LeastSquares(alpha=problem.alpha, fit_intercept=problem.intercept, precision=precision, qr=False)
        model.fit_stream(ArrayBlocks(problem.X, problem.y, rows=130))
    norms = np.sqrt((problem.columns() ** 2).sum(0) + problem.alpha)
    bound = model.accuracy_
    assert error(norms * model.coef_, norms * coef) <= bound.relative_error
    assert (abs(model.coef_ - coef) <= bound.absolute_error[0] + 1e-13).all()
    if problem.name == "random":
        assert bound.relative_error <= {"high": 1e-11, "fast": 1e-3}[precision]
    if problem.name == "condition 1e6":
        assert bound.relative_error > 1e-6


def test_a_condition_number_that_demands_it_takes_a_second_pass() -> None:
    problem = next(problem for problem in PROBLEMS if problem.name == "condition 1e6")
    model = LeastSquares().fit_stream((problem.X, problem.y))
    assert model.n_iter_ == 2
    assert model.accuracy_.method == "qr"
    assert error(model.coef_, problem.solution()[0]) <= 1e-8
    assert model.condition_number_ == pytest.approx(np.linalg.cond(problem.columns()), rel=1e-6)
    asked = LeastSquares(qr=True).fit_stream((problem.X, problem.y))
    assert asked.n_iter_ == 1
    np.testing.assert_array_equal(asked.coef_, model.coef_)


def test_without_the_second_pass_it_warns() -> None:
    problem = next(problem for problem in PROBLEMS if problem.name == "condition 1e6")
    with pytest.warns(AccuracyWarning, match=r"coefficients to a relative error of .* where 1e-06 was asked for"):
        LeastSquares(qr=False).fit_stream((problem.X, problem.y))


def test_a_source_that_changes_between_the_passes_is_refused() -> None:
    problem = next(problem for problem in PROBLEMS if problem.name == "condition 1e6")

    class Shrinking:
        n, feature_names, passes = None, None, 0

        def blocks(self) -> Any:
            self.passes += 1
            stop = len(problem.X) - 10 * (self.passes > 2)  # the first look at the columns is a pass too
            yield problem.X[:stop], problem.y[:stop], None

    with pytest.raises(ValueError, match=r"gave 700 rows and the second 690, so that the source has changed"):
        LeastSquares().fit_stream(Shrinking())


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_threads_add_up_to_the_same_sums(workers: int) -> None:
    rng = np.random.default_rng(1)
    X, y, w = rng.standard_normal((9000, 5)), rng.standard_normal((9000, 2)), rng.random(9000)
    moments, triangle = Moments(5, 2, workers=workers), Triangle(5, 2, workers=workers)
    with Workers(workers) as pool:
        for sums in (moments, triangle):
            sums.add(X[:5000], y[:5000], w[:5000], pool)
            sums.add(X[5000:], y[5000:], w[5000:], pool)
    rows = np.column_stack([X, y]) - moments.shift
    rows = np.column_stack([rows, np.ones(9000)]) * np.sqrt(w)[:, None]
    np.testing.assert_allclose(moments.gram, rows.T @ rows, rtol=1e-12, atol=1e-10)
    centred = np.column_stack([X, y]) - np.average(np.column_stack([X, y]), axis=0, weights=w)
    centred *= np.sqrt(w)[:, None]
    np.testing.assert_allclose(triangle.factor().T @ triangle.factor(), centred.T @ centred, rtol=1e-11, atol=1e-10)
    np.testing.assert_allclose(triangle.means(), np.average(np.column_stack([X, y]), axis=0, weights=w), rtol=1e-12)


@pytest.mark.parametrize("precision", ["high", "fast"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_lie_side_by_side_are_the_same_as_apart(precision: Any, dtype: Any) -> None:
    rows = np.random.default_rng(2).standard_normal((3000, 6)).astype(dtype) + dtype(5)
    together, apart = Moments(5, 1, precision=precision), Moments(5, 1, precision=precision)
    together.add(rows[:, :5], rows[:, 5:])
    apart.add(rows[:, :5].copy(), rows[:, 5:].copy())
    np.testing.assert_array_equal(together.gram, apart.gram)


@needs_compiler
@pytest.mark.parametrize("precision", ["high", "fast"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("features", "targets"), [(30, 1), (47, 1), (24, 3), (180, 12)])
def test_the_kernel_sums_within_its_bound(
    precision: Any, dtype: Any, weighted: bool, features: int, targets: int
) -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((1111, features + targets)).astype(dtype) + dtype(7)
    X, y = rows[:, :features], rows[:, features:].copy()
    w = rng.random(1111) if weighted else None
    moments = Moments(features, targets, precision=precision, workers=2, compiled=True)
    with Workers(2) as workers:
        moments.add(X[:1000], y[:1000], None if w is None else w[:1000], workers)
    assert moments._kernel is not None, "this is what the test is about"
    pickled: Moments = pickle.loads(pickle.dumps(moments))
    pickled.add(X[1000:], y[1000:], None if w is None else w[1000:])
    exact = np.column_stack([rows - moments.shift, np.ones(1111)]).astype(np.longdouble)
    exact = exact.T @ (exact if w is None else exact * w[:, None])
    off = abs(pickled.gram - exact) / np.sqrt(np.outer(exact.diagonal(), exact.diagonal()))
    assert off.max() <= pickled.rounding <= {"high": 1e-13, "fast": 1e-5}[precision]
    assert pickled.weight == pytest.approx(1111 if w is None else w.sum())
    np.testing.assert_array_equal(pickled.gram, pickled.gram.T)


@needs_compiler
def test_rows_that_the_kernel_does_not_take_are_added_without_it() -> None:
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((600, 30)) + 5, rng.standard_normal((600, 1)) + 5
    moments, without = Moments(30, 1, compiled=True), Moments(30, 1, compiled=False)
    for one in (moments, without):
        one.add(X[:200], y[:200])
        one.add(np.asfortranarray(X[200:400]), y[200:400])
        one.add(X[400:].astype(np.float32), y[400:].astype(np.float32))
    np.testing.assert_array_equal(moments.shift, without.shift)
    np.testing.assert_allclose(moments.gram, without.gram, rtol=1e-12, atol=1e-10)
    assert moments.weight == 600
    X[500, 3] = np.nan
    moments.add(X[400:], y[400:])
    assert not moments.is_finite()


def test_without_a_compiler_many_rows_are_summed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((40_000, 14))
    y = rows @ np.arange(14.0)
    with_one = LeastSquares().fit_stream((rows, y))
    monkeypatch.setattr("thalweg.linear.moments.gram_kernel", lambda *_: None)
    np.testing.assert_allclose(LeastSquares().fit_stream((rows, y)).coef_, with_one.coef_, atol=1e-10)


@pytest.mark.parametrize("precision", ["high", "fast"])
def test_a_large_mean_costs_no_digits(precision: str) -> None:
    X = with_condition(2000, 4, 3.0, np.random.default_rng(3))
    y = X @ np.arange(1.0, 5.0)
    near = LeastSquares(precision=precision).fit_stream((X, y))
    far = LeastSquares(precision=precision).fit_stream((X + 1000.0, y + 1e6))
    assert error(far.coef_, near.coef_) <= {"high": 1e-10, "fast": 2e-5}[precision]


# ------------------------------------------------------------------------------------------------- what is known after


def test_standard_errors_and_intervals_are_the_textbooks() -> None:
    rng = np.random.default_rng(4)
    X, w = rng.standard_normal((200, 3)) + 2.0, rng.random(200) + 0.5
    y = X @ [1.0, 0.0, -1.0] + rng.standard_normal(200)
    design = np.column_stack([np.ones(200), X])
    inverse = np.linalg.inv(design.T @ (design * w[:, None]))
    beta = inverse @ design.T @ (w * y)
    rest = y - design @ beta
    errors = np.sqrt(np.diag(inverse) * (w * rest**2).sum() / 196)
    for model in (LeastSquares().fit(X, y, w), LeastSquares().fit_stream((X, y, w))):
        np.testing.assert_allclose(model.standard_errors_, errors[1:], rtol=1e-9)
        assert model.intercept_standard_error_ == pytest.approx(errors[0], rel=1e-9)
        half = stats.t.ppf(0.95, 196) * errors[1:]
        expected = np.column_stack([beta[1:] - half, beta[1:] + half])
        np.testing.assert_allclose(model.confidence_intervals(0.9), expected, rtol=1e-8)
        assert model.rss_ == pytest.approx((w * rest**2).sum(), rel=1e-9)
        assert model.r2_ == pytest.approx(model.score(X, y, w), rel=1e-9)
    np.testing.assert_allclose(LeastSquares().fit(X, y, w).residuals_, rest, atol=1e-10)


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    X, truth = rng.standard_normal((30, 2)), np.array([1.0, -2.0])
    covered = 0
    for _ in range(400):
        ends = LeastSquares().fit(X, X @ truth + rng.standard_normal(30)).confidence_intervals(0.8)
        covered += int(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).sum())
    assert abs(covered / 800 - 0.8) <= 3 * np.sqrt(0.8 * 0.2 / 400)  # the two of a run are nearly independent


@pytest.mark.parametrize("name", ["collinear", "wide", "random, ridge", "constant column"])
def test_where_standard_errors_are_not_defined_it_says_why(name: str) -> None:
    problem = next(problem for problem in PROBLEMS if problem.name == name)
    for model in (
        LeastSquares(alpha=problem.alpha).fit(problem.X, problem.y),
        LeastSquares(alpha=problem.alpha).fit_stream((problem.X, problem.y)),
    ):
        assert model.standard_errors_ is None
        with pytest.raises(ValueError, match="standard errors are not defined for this fit"):
            model.confidence_intervals()


def test_the_summary_is_a_table() -> None:
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(6)
    frame = pd.DataFrame(rng.standard_normal((50, 2)), columns=["age", "size"])
    model = LeastSquares().fit(frame, frame["age"] + rng.standard_normal(50))
    assert [line.split()[0] for line in model.summary().splitlines()[1:]] == ["intercept", "age", "size"]
    table = model.summary_frame()
    assert list(table.index) == ["intercept", "age", "size"]
    np.testing.assert_allclose(table["estimate"], [model.intercept_, *model.coef_])
    assert (table["lower"] < table["estimate"]).all()


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_partial_fit_is_the_fit_of_all_rows(alpha: float) -> None:
    rng = np.random.default_rng(7)
    X, y, w = rng.standard_normal((300, 4)), rng.standard_normal(300), rng.integers(0, 3, 300)
    grown = LeastSquares(alpha=alpha)
    for start in range(0, 300, 70):
        part = slice(start, start + 70)
        grown.partial_fit(X[part], y[part], w[part])
    whole = LeastSquares(alpha=alpha).fit(X, y, w)
    np.testing.assert_allclose(grown.coef_, whole.coef_, rtol=1e-10)
    assert grown.intercept_ == pytest.approx(whole.intercept_, rel=1e-10)
    repeated = LeastSquares(alpha=alpha).fit(X.repeat(w, 0), y.repeat(w))
    np.testing.assert_allclose(whole.coef_, repeated.coef_, rtol=1e-10)


@pytest.mark.parametrize("precision", ["high", "fast"])
def test_several_targets_are_solved_at_once(precision: str) -> None:
    rng = np.random.default_rng(8)
    X, Y = rng.standard_normal((100, 3)), rng.standard_normal((100, 2))
    both = LeastSquares().fit(X, Y)
    for target in range(2):
        one = LeastSquares().fit(X, Y[:, target])
        np.testing.assert_allclose(both.coef_[target], one.coef_, rtol=1e-12)
        np.testing.assert_allclose(both.standard_errors_[target], one.standard_errors_, rtol=1e-12)
    streamed = LeastSquares(precision=precision).fit_stream((X, Y))
    np.testing.assert_allclose(streamed.coef_, both.coef_, atol=1e-5)
    assert streamed.score_stream((X, Y)) == pytest.approx(both.score(X, Y), abs=1e-6)
    assert both.predict(X).shape == (100, 2)


def test_float32_stays_float32_and_is_solved_in_float64() -> None:
    rng = np.random.default_rng(9)
    X = with_condition(500, 5, 1e3, rng).astype(np.float32)
    y = (X @ np.ones(5)).astype(np.float32)
    model = LeastSquares().fit(X, y)
    assert model.coef_.dtype == np.float32
    exact = LeastSquares().fit(X.astype(np.float64), y.astype(np.float64))
    assert error(model.coef_, exact.coef_) <= 1e-7
    assert LeastSquares(dtype="float64").fit(X, y).coef_.dtype == np.float64

"""Gradient descent and SGD converge to the closed form within stated bounds, by any rule under any schedule."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

import thalweg as tw
from tests.linear.cases import Array, error, with_condition
from thalweg.linear import LeastSquares

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3000, 6)) @ np.diag([1, 2, 5, 1, 0.1, 1]) + 3.0
Y = X @ [1.0, -1.0, 0.5, 0.0, 4.0, 2.0] + 0.5 * RNG.standard_normal(3000)
CLOSED = LeastSquares().fit(X, Y)


def test_gradient_descent_contracts_as_the_theory_says() -> None:
    # ‖v_k − v*‖ ≤ (1 − η λ_min)^k ‖v_0 − v*‖ for η ≤ 1/λ_max, in the coordinates of the rule (Nesterov 2004, 2.1.5).
    columns = with_condition(400, 5, 10.0, np.random.default_rng(1))
    target = columns @ np.arange(1.0, 6.0) + 0.1 * np.random.default_rng(2).standard_normal(400)
    best = np.linalg.lstsq(columns, target, rcond=None)[0]
    values = np.linalg.eigvalsh(columns.T @ columns / 400)
    rate = 1 / values[-1]
    rule = tw.optim.SGD(lr=rate)
    model = LeastSquares("gd", fit_intercept=False, standardize=False, optimizer=rule, max_iter=200, tol=0.0)
    with pytest.warns(ConvergenceWarning, match="has not converged after max_iter=200 updates"):
        model.fit(columns, target)
    path = model.path_
    distance = np.linalg.norm(path.coef[:, 0] - best, axis=1)
    assert (distance <= (1 - rate * values[0]) ** path.step * np.linalg.norm(best) * (1 + 1e-9)).all()
    assert len(path) == 201


def test_one_step_of_gradient_descent_is_the_one_by_hand() -> None:
    rule = tw.optim.SGD(lr=0.01)
    model = LeastSquares("gd", standardize=False, fit_intercept=False, optimizer=rule, max_iter=2, tol=0.0, alpha=2.0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, Y)
    w = np.zeros(6)
    for _ in range(2):
        w = w - 0.01 * (X.T @ (X @ w - Y) + 2.0 * w) / len(X)
    np.testing.assert_allclose(model.coef_, w, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 50.0])
@pytest.mark.parametrize("streamed", [False, True])
def test_gradient_descent_converges_to_the_closed_form(alpha: float, streamed: bool) -> None:
    closed = LeastSquares(alpha=alpha).fit(X, Y)
    model = LeastSquares("gd", alpha=alpha)
    model = model.fit_stream((X, Y)) if streamed else model.fit(X, Y)
    assert error(model.coef_, closed.coef_) <= 1e-9
    assert model.intercept_ == pytest.approx(closed.intercept_, rel=1e-8)
    assert model.r2_ == pytest.approx(closed.r2_, abs=1e-9)
    assert model.n_iter_ < 1000


def test_weights_count_in_gradient_descent() -> None:
    w = np.random.default_rng(3).random(3000)
    closed = LeastSquares().fit(X, Y, w)
    assert error(LeastSquares("gd").fit(X, Y, w).coef_, closed.coef_) <= 1e-9
    assert error(LeastSquares("gd").fit_stream((X, Y, w)).coef_, closed.coef_) <= 1e-9


def test_averaged_sgd_stays_within_bach_and_moulines_bound() -> None:
    # One pass, one row per step, η = 1/(4R²): E f(mean) − f* ≤ (2/n) (σ √d + R ‖w_0 − w*‖)², f half the mean square
    # (Bach and Moulines 2013, Non-strongly-convex smooth stochastic approximation with convergence rate O(1/n), thm 1).
    n, d, sigma = 1000, 4, 0.5
    truth = np.array([1.0, -1.0, 0.5, 2.0])
    excess = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows = rng.uniform(-1, 1, (n, d))
        target = rows @ truth + sigma * rng.standard_normal(n)
        rule = tw.optim.Averaged(tw.optim.SGD(lr=1 / (4 * d)), decay=None)
        model = LeastSquares("sgd", fit_intercept=False, standardize=False, optimizer=rule, batch_size=1)
        model.set_params(schedule=tw.schedule.Constant(), epochs=1, random_state=seed).fit(rows, target)
        excess.append(((model.coef_ - truth) ** 2).sum() / 3 / 2)  # the columns' covariance is I / 3
    bound = 2 / n * (sigma * np.sqrt(d) + np.sqrt(d) * np.linalg.norm(truth)) ** 2
    assert np.mean(excess) <= bound


def test_the_default_sgd_ends_within_two_standard_errors() -> None:
    model = LeastSquares("sgd", epochs=20, random_state=0).fit(X, Y)
    assert (abs(model.coef_ - CLOSED.coef_) <= 2 * CLOSED.standard_errors_).all()
    assert CLOSED.r2_ - 1e-3 <= model.r2_ <= CLOSED.r2_
    assert model.standard_errors_ is None
    ridge, exact = (LeastSquares(s, alpha=300.0, random_state=0, epochs=20).fit(X, Y) for s in ("sgd", "closed_form"))
    assert error(ridge.coef_, exact.coef_) <= 0.05 < error(CLOSED.coef_, exact.coef_)


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        (tw.optim.SGD(lr=0.05, momentum=0.9), "one_cycle"),
        ("adam", None),
        (tw.optim.AdamW(lr=0.1, weight_decay=0.0), "cosine"),
        ({"name": "rmsprop", "lr": 0.05}, "linear"),
        (tw.optim.Lookahead(tw.optim.SGD(lr=0.1)), tw.schedule.Constant()),
        (tw.optim.ScheduleFreeSGD(lr=0.2), tw.schedule.Constant()),
        (tw.optim.Muon(lr=0.2, weight_decay=0.0, other=tw.optim.AdamW(lr=0.1)), "linear"),
        (tw.optim.Lion(lr=0.05, weight_decay=0.0), {"lr": tw.schedule.Warmup("10%") >> tw.schedule.Linear()}),
        (tw.optim.SGD(lr=0.1), {"lr": tw.schedule.ReduceOnPlateau(monitor="loss", patience=0)}),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_any_rule_under_any_schedule(optimizer: Any, schedule: Any) -> None:
    model = LeastSquares("sgd", optimizer=optimizer, schedule=schedule, epochs=30, batch_size=100, random_state=0)
    if optimizer == "adam":  # at its own rate of 0.001 it is slow
        model.set_params(optimizer={"name": "adam", "lr": 0.1})
    model.fit(X, Y - Y.mean())  # rules of fixed steps need not walk the way to the mean
    assert CLOSED.r2_ - model.r2_ <= 5e-3


def test_the_update_is_the_rules_own() -> None:
    # The same batches through torch's autograd and torch's own Adam, on columns whose mean is 0.
    rows, target = X[:200] - X[:200].mean(0), Y[:200]
    model = LeastSquares("sgd", optimizer=tw.optim.Adam(lr=0.1), schedule=tw.schedule.Constant(), standardize=False)
    model.set_params(epochs=2, batch_size=32, random_state=5).fit(rows, target)
    layer = torch.nn.Linear(6, 1).double()
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    adam = torch.optim.Adam(layer.parameters(), lr=0.1)
    seed = int(np.random.RandomState(5).randint(2**31 - 1))
    source = tw.data.source((torch.from_numpy(rows), torch.from_numpy(target)), batch_size=32, seed=seed)
    for epoch in range(2):
        for x, y in source.batches(epoch):
            adam.zero_grad()
            ((layer(x)[:, 0] - y) ** 2).mean().div(2).backward()
            adam.step()
    np.testing.assert_allclose(model.coef_, layer.weight.detach().numpy()[0], rtol=1e-8)
    assert model.intercept_ == pytest.approx(layer.bias.item(), rel=1e-8)


def test_standardising_changes_the_way_and_not_the_goal() -> None:
    scaled: Array = X * np.array([1e-3, 1.0, 1e3, 1.0, 10.0, 1.0])
    closed = LeastSquares(alpha=1.0).fit(scaled, Y)
    model = LeastSquares("gd", alpha=1.0, max_iter=200_000, tol=1e-12).fit(scaled, Y)
    assert error(model.coef_ * scaled.std(0), closed.coef_ * scaled.std(0)) <= 1e-6


def test_float32_iterates_in_float32() -> None:
    model = LeastSquares("gd").fit(X.astype(np.float32), Y.astype(np.float32))
    assert model.coef_.dtype == np.float32
    assert error(model.coef_, CLOSED.coef_) <= 1e-3


def test_partial_fit_goes_on() -> None:
    model = LeastSquares("sgd", batch_size=50, random_state=0)
    scores = []
    for _ in range(3):
        for start in range(0, 3000, 500):
            model.partial_fit(X[start : start + 500], Y[start : start + 500])
        model = pickle.loads(pickle.dumps(model))
        scores.append(model.score(X, Y))
    assert scores[-1] >= 0.99 * CLOSED.r2_
    with pytest.raises(AttributeError, match="partial_fit"):
        LeastSquares("gd").partial_fit(X, Y)


def test_a_rate_that_is_too_large_is_an_error() -> None:
    model = LeastSquares("sgd", optimizer=tw.optim.SGD(lr=1e6), schedule=tw.schedule.Constant())
    with pytest.raises(FloatingPointError, match=r"after \d+ updates the parameters are not finite: the rate"):
        model.fit(X, Y)


def test_the_same_random_state_gives_the_same_numbers() -> None:
    first, second, other = (LeastSquares("sgd", random_state=seed).fit(X, Y).coef_ for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()

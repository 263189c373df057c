"""SGD on rows of a mapped file: the same updates as on batches that were copied, and the same words on bad rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thalweg as tw
from tests.linear.cases import Array
from thalweg.engine import c_compiler
from thalweg.linear import LeastSquares, lying_rows
from thalweg.linear.c_gradient import gradient_kernel

pytestmark = pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")

ROWS, FEATURES = 2000, 21


@pytest.fixture(autouse=True)
def _worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lying_rows, "_WORTH_COMPILING", 0)


def table(dtype: Any = np.float64) -> Array:
    """Columns of other means and sizes, a target, and a weight as the last column."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, FEATURES + 2)) * np.linspace(0.5, 3, FEATURES + 2) + 1.0
    rows[:, -2] = rows[:, :FEATURES] @ np.linspace(-1, 1, FEATURES) + 0.1 * rows[:, -2]
    rows[:, -1] = rng.random(ROWS)
    return rows.astype(dtype)


def saved(folder: Path, rows: Array) -> str:
    np.save(folder / "rows.npy", rows)
    return str(folder / "rows.npy")


def both(path: str, monkeypatch: pytest.MonkeyPatch, stream: dict[str, Any], **settings: Any) -> Iterator[LeastSquares]:
    """Yield the fit by the kernel, and without one."""
    counted = []
    one_call = lying_rows.over_places
    monkeypatch.setattr("thalweg.linear.model.over_places", lambda *given: counted.append(1) or one_call(*given))
    for kernel in (lying_rows.kernel_of, lambda *_: None):
        monkeypatch.setattr("thalweg.linear.model.kernel_of", kernel)
        source = tw.data.stream(path, target=FEATURES, columns=list(range(FEATURES)), batch_size=96, **stream)
        yield LeastSquares("sgd", epochs=3, **settings).fit_stream(source)
    assert len(counted) == 1, "one of them takes the kernel, one does not"


@pytest.mark.parametrize("shuffle", [False, "block", "full"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_order_gives_the_iterates_of_copied_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shuffle: Any, dtype: str
) -> None:
    path = saved(tmp_path, table(dtype))
    stream = {"shuffle": shuffle, "dtype": getattr(torch, dtype)}
    kernel, plain = both(path, monkeypatch, stream, dtype=dtype)
    close = {"rtol": 1e-9, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_array_equal(kernel.path_.step, plain.path_.step)
    np.testing.assert_allclose(kernel.path_.coef, plain.path_.coef, **close)
    np.testing.assert_allclose(kernel.path_.intercept, plain.path_.intercept, **close)
    np.testing.assert_allclose(kernel.path_.loss, plain.path_.loss, **close)
    assert kernel.coef_.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": 30.0},
        {"fit_intercept": False},
        {"optimizer": tw.optim.Adam(lr=0.05), "schedule": "cosine"},
        {"optimizer": tw.optim.Lookahead(tw.optim.SGD(lr=0.01, momentum=0.9)), "standardize": False},
        {"optimizer": "sgd", "schedule": tw.schedule.ReduceOnPlateau(monitor="loss", patience=0, factor=0.5)},
    ],
    ids=["ridge", "no intercept", "adam", "lookahead", "plateau"],
)
def test_every_setting_gives_the_same_coefficients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    stream = {"weight": FEATURES + 1, "dtype": torch.float64}
    kernel, plain = both(saved(tmp_path, table()), monkeypatch, stream, **settings)
    np.testing.assert_allclose(kernel.coef_, plain.coef_, rtol=1e-9, atol=1e-11)
    assert kernel.intercept_ == pytest.approx(plain.intercept_, rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_batches_that_were_copied_go_through_the_kernel_too(monkeypatch: pytest.MonkeyPatch, weighted: bool) -> None:
    rows = table()
    X, y, w = rows[:, :FEATURES], rows[:, FEATURES], rows[:, FEATURES + 1] if weighted else None
    kernel = LeastSquares("sgd", epochs=2, random_state=0, alpha=3.0).fit(X, y, w)
    monkeypatch.setattr("thalweg.linear.model.kernel_of", lambda *_: None)
    plain = LeastSquares("sgd", epochs=2, random_state=0, alpha=3.0).fit(X, y, w)
    np.testing.assert_allclose(kernel.path_.coef, plain.path_.coef, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kernel.path_.loss, plain.path_.loss, rtol=1e-9)
    assert not np.array_equal(kernel.coef_, plain.coef_), "one of them was made by the kernel, which rounds differently"


@settings(max_examples=40, deadline=None)
@given(
    p=st.integers(1, 150),
    count=st.integers(1, 700),
    weighted=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_the_gradient_is_that_of_the_equation(
    p: int, count: int, weighted: bool, dtype: torch.dtype, threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    real = np.dtype(str(dtype).removeprefix("torch."))
    rows = rng.standard_normal((300, p + 2)).astype(real)
    x, y, w = rows[:, :p], rows[:, p], abs(rows[:, p + 1]) if weighted else None
    weight, bias = torch.randn(1, p, dtype=dtype), torch.randn(1, dtype=dtype)
    weight.grad, bias.grad = torch.zeros_like(weight), torch.zeros_like(bias)
    scale, shift = torch.rand(p, dtype=dtype) + 1, torch.rand(p, dtype=dtype)
    kernel = gradient_kernel(weight, bias, scale, shift, 0.7)
    assert kernel is not None
    assert kernel.attach(x, y, w)
    place = rng.integers(0, 300, count)
    kernel(place, 0.3, threads)
    coef = weight.numpy()[0].astype(float) / scale.numpy()
    u = (x[place].astype(float) - shift.numpy()) / scale.numpy()
    v = np.ones(count) if w is None else w[place].astype(float)
    rest = u @ weight.numpy()[0].astype(float) + float(bias) - y[place]
    slope = (v * rest) @ u / (0.7 * count) + 0.3 * coef / scale.numpy()
    bound = {"rtol": 0, "atol": (2e-5 if real == np.float32 else 1e-13) * p * max(1.0, abs(rest).max())}
    np.testing.assert_allclose(weight.grad.numpy()[0], slope, **bound)
    np.testing.assert_allclose(bias.grad.numpy(), [(v * rest).sum() / (0.7 * count)], **bound)
    loss = (v * rest**2).sum() / (1.4 * count) + 0.15 * coef @ coef
    assert kernel.found[0] == pytest.approx(loss, rel=1e-4 if real == np.float32 else 1e-12)
    kernel(range(7, 205), 0.0)
    straight = weight.grad.clone()
    kernel(np.arange(7, 205), 0.0)
    assert torch.equal(straight, weight.grad)


@pytest.mark.parametrize("shuffle", [False, "block", "full"])
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (3, np.nan, r"row 1234 of .*rows\.npy: column 'x3' is nan"),
        (FEATURES, np.inf, r"row 1234 of .*rows\.npy: the target is inf"),
        (FEATURES + 1, -2.0, r"row 1234 of .*rows\.npy: the weight is -2"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, shuffle: Any, column: int, value: float, said: str) -> None:
    rows = table()
    rows[1234, column] = value
    source = tw.data.stream(
        saved(tmp_path, rows),
        target=FEATURES,
        weight=FEATURES + 1,
        shuffle=shuffle,
        batch_size=96,
        dtype=torch.float64,
        memory=1 << 20,  # so that the row is not among the first, which are looked at before
    )
    with pytest.raises(ValueError, match=said):
        LeastSquares("sgd").fit_stream(source)


def test_a_rate_that_is_too_large_is_an_error_of_its_own(tmp_path: Path) -> None:
    source = tw.data.stream(saved(tmp_path, table("float32")), target=FEATURES, batch_size=96)
    with pytest.raises(FloatingPointError, match=r"after \d+ updates the parameters are not finite: the rate"):
        LeastSquares("sgd", optimizer=tw.optim.SGD(lr=100.0), epochs=30).fit_stream(source)


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("shuffle", [False, "block", "full"])
def test_places_are_the_rows_of_the_batches(tmp_path: Path, ranks: int, shuffle: Any) -> None:
    rows = np.arange(3000.0).reshape(1000, 3)
    for rank in range(ranks):
        source = tw.data.stream(
            saved(tmp_path, rows), shuffle=shuffle, batch_size=70, rank=rank, world_size=ranks, dtype=torch.float64
        )
        with source.mapped() as found:
            assert found is not None
            for index, (place, batch) in enumerate(zip(source.places(2), source.batches(2), strict=True)):
                numbers = np.asarray(place)
                np.testing.assert_array_equal(found.x[numbers], batch)
                np.testing.assert_array_equal(numbers, source.rows_of(2, index))
        later = list(source.places(2, start=11))
        assert source.state()["position"] == 1000
        np.testing.assert_array_equal(np.asarray(later[0]), source.rows_of(2, 11))


def test_what_must_be_converted_is_not_lent(tmp_path: Path) -> None:
    path = saved(tmp_path, table("float32"))
    np.save(tmp_path / "more.npy", table("float32"))
    for source in (
        tw.data.stream(path, target=FEATURES, dtype=torch.float64),
        tw.data.stream([path, str(tmp_path / "more.npy")], target=FEATURES),
    ):
        with source.mapped() as rows:
            assert rows is None

"""What cannot work is refused, with the place and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.linear import LeastSquares, LogisticRegression
from thalweg.linear.blocks import ArrayBlocks

X = np.random.default_rng(0).standard_normal((300, 3))
Y = X @ [1.0, 2.0, 3.0]


def spoiled(value: float) -> Any:
    """Return X with *value* in row 217, column 1."""
    found = X.copy()
    found[217, 1] = value
    return found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("solver", ["closed_form", "gd", "sgd"])
def test_a_bad_value_is_named_by_row_and_column(value: float, solver: str) -> None:
    with pytest.raises(ValueError, match=r"X is -?(nan|inf) in row 217, column 1; NaN and infinity"):
        LeastSquares(solver).fit(spoiled(value), Y)
    with pytest.raises(ValueError, match=r"X is -?(nan|inf) in row 217, column 1"):
        LeastSquares(solver).fit_stream(ArrayBlocks(spoiled(value), Y, rows=400))
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="column 'b'"):
        LeastSquares(solver).fit(pd.DataFrame(spoiled(value), columns=["a", "b", "c"]), Y)


@pytest.mark.parametrize("precision", ["high", "fast"])
def test_in_a_stream_rows_are_counted_through_its_blocks(precision: str) -> None:
    with pytest.raises(ValueError, match=r"fit_stream: X is inf in row 217, column 1"):
        LeastSquares(precision=precision).fit_stream(ArrayBlocks(spoiled(np.inf), Y, rows=100))
    target = Y.copy()
    target[250] = np.nan
    with pytest.raises(ValueError, match=r"y is nan in row 250"):
        LeastSquares(precision=precision, qr=precision == "high").fit_stream(ArrayBlocks(X, target, rows=100))


def test_a_file_names_the_bad_value_too(tmp_path: Any) -> None:
    rows = np.column_stack([spoiled(np.nan), Y]).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(ValueError, match="217"):
        LeastSquares().fit_stream(tw.data.stream(tmp_path / "rows.npy", target=3))
    with pytest.raises(ValueError, match="the stream has no target"):
        LeastSquares().fit_stream(tw.data.stream(tmp_path / "rows.npy"))


def test_squares_beyond_float32_are_refused() -> None:
    large = X * 1e25
    with pytest.raises(ValueError, match=r"a sum of products overflowed.*use precision='high'"):
        LeastSquares(precision="fast").fit_stream((large, Y))
    assert LeastSquares().fit_stream((large, Y)).coef_ * 1e25 == pytest.approx([1.0, 2.0, 3.0])


def test_more_features_than_memory_holds_suggest_an_iterative_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.linear.memory.available_bytes", lambda: 100)
    said = r"the closed form of 3 features needs .* GiB .*use solver='sgd' \(or 'gd'\)"
    with pytest.raises(ValueError, match=said):
        LeastSquares("closed_form").fit(X, Y)
    with pytest.raises(ValueError, match=said):
        LeastSquares("closed_form").fit_stream((X, Y))
    assert LeastSquares().fit(X, Y).solver_ == "gd"
    assert LeastSquares(random_state=0).fit_stream((X, Y)).solver_ == "sgd"


class Odd:
    """A stream whose second block is what is given."""

    n, feature_names = None, None

    def __init__(self, *second: Any) -> None:
        self.second = second

    def blocks(self) -> Any:
        yield X, Y, None
        yield self.second


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        (lambda: LeastSquares("qr").fit(X, Y), ValueError, "unknown solver 'qr'"),
        (lambda: LeastSquares(alpha=-1.0).fit(X, Y), ValueError, "alpha=-1.0 must be >= 0"),
        (lambda: LeastSquares(precision="low").fit(X, Y), ValueError, "unknown precision 'low'"),
        (lambda: LeastSquares(qr="yes").fit(X, Y), ValueError, "none of 'auto', True and False"),
        (lambda: LeastSquares(dtype="float16").fit(X, Y), ValueError, "neither float32 nor float64"),
        (lambda: LeastSquares("sgd", optimizer="sdg").fit(X, Y), ValueError, "Did you mean 'sgd'"),
        (lambda: LeastSquares("sgd", schedule="cosin").fit(X, Y), ValueError, "Did you mean 'cosine'"),
        (lambda: LeastSquares(tol=-1.0).fit(X, Y), ValueError, "tol=-1.0"),
        (lambda: LeastSquares().fit(X, Y, np.full(300, -1.0)), ValueError, "[Nn]egative values in .*sample_weight"),
        (lambda: LeastSquares().fit_stream((X, Y, np.zeros(300))), ValueError, "every one of the 300 rows is zero"),
        (lambda: LeastSquares().fit_stream((X, Y, -np.ones(300))), ValueError, "the weight of row 0 is -1"),
        (lambda: LeastSquares().fit_stream((X, Y[:-1])), ValueError, r"the arrays have \[300, 299\] rows"),
        (lambda: LeastSquares().fit_stream([X, Y]), TypeError, "got a list, which gives no blocks"),
        (lambda: LeastSquares().fit_stream(Odd(X[:, :2], Y, None)), ValueError, "2 features from row 300 on"),
        (lambda: LeastSquares().fit_stream(Odd(X, Y[:5], None)), ValueError, "every row needs its target"),
        (
            lambda: LeastSquares().fit_stream(Odd(X * 1j, Y, None)),
            ValueError,
            "complex128.* but sums take real numbers",
        ),
        (lambda: LeastSquares().fit_stream((X[:0], Y[:0])), ValueError, "at least one"),
        (lambda: LeastSquares().fit(X, Y).confidence_intervals(95), ValueError, "level=95 must be > 0 and < 1"),
        (lambda: LeastSquares().partial_fit(X, Y).partial_fit(X, np.c_[Y, Y]), ValueError, "2 targets arrived"),
        (lambda: LogisticRegression(epochs=0).fit(X, Y > 0), ValueError, "epochs=0 must be >= 1"),
        (lambda: LogisticRegression().fit_stream((spoiled(np.nan), Y > 0)), ValueError, "nan in row 217"),
    ],
)
def test_what_cannot_work_is_refused(act: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        act()

"""Flights, houses and digits: real files, read from disk, beside NumPy and scikit-learn."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

import thalweg as tw

ROOT = Path(__file__).resolve().parents[2] / "data"


def real(name: str, file: str) -> Path:
    """Return a file that `make data` obtains, or skip the test and say so."""
    if not tw.data.is_obtained(name, ROOT):
        pytest.skip(f"{name} is not in {ROOT}; `thalweg data {name}` or `make data` obtains it")
    return ROOT / name / file


@pytest.mark.real
def test_flights_delay_on_the_other_columns() -> None:
    """Date and distance as the stream converts them; the airports' names are text, and refused by name."""
    import pyarrow.parquet as pq

    path = real("flights", "flights-3m.parquet")
    with pytest.raises(TypeError, match=r"'origin' .*, 'destination' .* hold no numbers"):
        tw.data.stream(path, target="delay")
    source = tw.data.stream(path, target="delay", columns=["date", "distance"])
    model = tw.linear.LeastSquares(dtype="float64").fit_stream(source)
    table = pq.read_table(path, columns=["date", "delay", "distance"])
    days = table["date"].to_numpy().astype("datetime64[us]").astype(np.int64) / 86_400e6
    rows = np.column_stack([days, table["distance"].to_numpy()])
    delay = table["delay"].to_numpy().astype(float)
    assert (source.n, model.n_iter_, model.accuracy_.method) == (3_000_000, 1, "gram")
    # Days since 1970 are 11,400 in float32, which is right to a minute and a half: 1e-5 of the spread of half a year.
    right = np.linalg.lstsq(rows - rows.mean(0), delay - delay.mean(), rcond=None)[0]
    np.testing.assert_allclose(model.coef_, right, rtol=1e-4)
    rest = delay - delay.mean() - (rows - rows.mean(0)) @ right
    assert model.r2_ == pytest.approx(1 - (rest @ rest) / ((delay - delay.mean()) ** 2).sum(), rel=1e-4)
    assert (np.abs(model.coef_) > 5 * model.standard_errors_).all()
    wide = tw.data.stream(path, target="delay", columns=["date", "distance"], dtype=torch.float64)
    exact = tw.linear.LeastSquares().fit_stream(wide)
    np.testing.assert_allclose(exact.coef_, right, rtol=1e-9)


@pytest.mark.real
def test_california_housing_is_scikit_learns(tmp_path: Path) -> None:
    import pandas as pd

    path = real("california-housing", "california_housing.parquet.brotli")
    frame = pd.read_parquet(path)
    X, y = frame.drop(columns="MedHouseVal"), frame["MedHouseVal"]
    assert X.shape == (20_640, 8)
    right = LinearRegression().fit(X, y)
    model = tw.linear.LeastSquares().fit(X, y)
    np.testing.assert_allclose(model.coef_, right.coef_, rtol=1e-10)
    assert model.intercept_ == pytest.approx(right.intercept_, rel=1e-10)
    assert model.r2_ == pytest.approx(right.score(X, y), rel=1e-10)
    assert list(model.feature_names_in_) == list(X.columns)
    shutil.copyfile(path, tmp_path / "houses.parquet")
    source = tw.data.stream(tmp_path / "houses.parquet", target="MedHouseVal", dtype=torch.float64)
    streamed = tw.linear.LeastSquares().fit_stream(source)
    assert streamed.accuracy_.method == "gram"
    off = np.abs(streamed.coef_ - right.coef_)
    assert (off <= streamed.accuracy_.absolute_error[0]).all()
    np.testing.assert_allclose(streamed.coef_, right.coef_, rtol=1e-8)


@pytest.mark.real
def test_softmax_regression_reads_mnist_from_disk(tmp_path: Path) -> None:
    """7,850 parameters, a `.npy` file of 157 MB; LeCun et al. (1998), table I: a linear classifier errs on 12 %."""
    real("mnist", "train-images-idx3-ubyte")
    digits = tw.data.load("mnist", root=ROOT)
    for name, part in zip("xy", digits.train, strict=True):
        np.save(tmp_path / f"{name}.npy", part.numpy())
    images = tw.data.stream(tmp_path / "x.npy", target=tmp_path / "y.npy", batch_size=256)
    model = tw.linear.LogisticRegression(
        "sgd", optimizer=tw.optim.Adam(lr=5e-3), schedule="cosine", epochs=3, standardize=False
    ).fit_stream(images, classes=range(10))
    x, y = (part.numpy() for part in digits.test)
    assert model.coef_.shape == (10, 784)
    assert model.score(x, y) >= 0.915
    assert model.score_stream(images) >= 0.915

"""Tables and pickles as the data of a recipe, against NumPy."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.recipe.tiny import tiny
from thalweg.recipe import Parts, load

ROWS = 40


def table(folder: Path, name: str = "table.csv", kinds: tuple[str, ...] = ("red", "green", "blue")) -> Path:
    """Write a table of two features, a constant, a row number, a kind, a count and a price."""
    random = np.random.default_rng(0)
    lines = ["width,height,same,row,kind,count,price"]
    for row in range(ROWS):
        width, height = random.normal(5, 3), random.normal(-2, 0.1)
        lines.append(f"{width},{height},7,{row},{kinds[row % len(kinds)]},{row % 3},{width * 2 + 0.5}")
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def parts_of(folder: Path, loss: Any = "mse", **data: Any) -> Parts:
    recipe = load(tiny(data={"path": str(table(folder)), **data}, loss=loss))
    return recipe.build()[1]


def test_rows_are_shared_out_once_each_and_by_the_seed(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"target": "price", "features": ["row"], "standardize": False}
    parts = parts_of(tmp_path, **settings, valid=0.25, test=0.1)
    rows = [sorted(part[0][:, 0].int().tolist()) for part in (parts.train, parts.valid, parts.test)]
    assert [len(part) for part in rows] == [26, 10, 4]
    assert sorted(row for part in rows for row in part) == list(range(ROWS))
    again, other = parts_of(tmp_path, **settings), parts_of(tmp_path, **settings, seed=1)
    assert torch.equal(parts_of(tmp_path, **settings).test[0], again.test[0])
    assert not torch.equal(again.test[0], other.test[0])
    assert str(again) == "table.csv: 28 to train, 6 to validate, 6 to test"


def test_a_share_of_nothing_leaves_the_part_out(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, target="price", features=["row"], valid=0, test=0.0)
    assert (parts.valid, parts.test, len(parts.train[0])) == (None, None, ROWS)


def test_features_are_standardized_by_the_training_rows_alone(tmp_path: Path) -> None:
    features = ["width", "height", "same"]
    raw = parts_of(tmp_path, target="price", features=features, standardize=False)
    parts = parts_of(tmp_path, target="price", features=features)
    x = raw.train[0].double().numpy()
    mean, deviation = x.mean(0), x.std(0)
    deviation[2] = 1.0
    for part, untouched in ((parts.train, raw.train), (parts.valid, raw.valid), (parts.test, raw.test)):
        expected = (untouched[0].double().numpy() - mean) / deviation
        np.testing.assert_allclose(part[0].numpy(), expected, atol=1e-5)
        assert torch.equal(part[1], untouched[1])
    assert parts.scaling is not None
    np.testing.assert_allclose(parts.scaling[0].numpy(), mean, rtol=1e-5)
    assert raw.scaling is None


@pytest.mark.parametrize(
    ("target", "loss", "dtype", "shape"),
    [
        ("kind", "cross_entropy", torch.int64, ()),
        ("count", "cross_entropy", torch.int64, ()),
        ("count", "mse", torch.float32, (1,)),
        ("price", "mse", torch.float32, (1,)),
        ("price", "huber", torch.float32, (1,)),
    ],
)
def test_targets_are_what_the_loss_compares(
    tmp_path: Path, target: str, loss: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    recipe = load(tiny(data={"path": str(table(tmp_path)), "target": target, "features": ["width"]}, loss=loss))
    learner, parts = recipe.build()
    y = parts.valid[1]
    assert (y.dtype, y.shape[1:]) == (dtype, shape)
    assert learner.module.output.out_features == (3 if loss == "cross_entropy" else 1)
    learner.fit(parts.train, valid=parts.valid, verbose=False, **recipe.fit_arguments())


def test_two_kinds_can_be_told_apart_by_one_number(tmp_path: Path) -> None:
    path = table(tmp_path, kinds=("no", "yes"))
    recipe = load(tiny(data={"path": str(path), "target": "kind", "features": ["width"]}, loss="binary_cross_entropy"))
    learner, parts = recipe.build()
    assert parts.classes == ("no", "yes")
    assert sorted(set(parts.train[1].flatten().tolist())) == [0.0, 1.0]
    assert learner.module.output.out_features == 1


def test_other_files_validate_and_test(tmp_path: Path) -> None:
    other = table(tmp_path, "other.csv")
    parts = parts_of(tmp_path, "cross_entropy", target="kind", features=["row"], valid=str(other), test=0)
    assert (len(parts.train[0]), len(parts.valid[0]), parts.test) == (ROWS, ROWS, None)
    strange = table(tmp_path, "strange.csv", kinds=("red", "violet"))
    match = r"strange.csv: column 'kind' has the classes red, violet, but .*table.csv has blue, green, red"
    with pytest.raises(ValueError, match=match):
        parts_of(tmp_path, "cross_entropy", target="kind", features=["row"], valid=str(strange))


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        ({"target": "prize"}, ValueError, r"recipe \[data\]: .*'prize'.*Did you mean 'price'\?"),
        ({"target": "price", "features": ["kind"]}, TypeError, r"column 'kind'"),
        ({"target": "price", "features": ["row"], "valid": 1.0}, ValueError, r"valid=1.0 must be >= 0 and < 1"),
        (
            {"target": "price", "features": ["row"], "valid": 0.5, "test": 0.5},
            ValueError,
            r"leave none of 40 rows to tra",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    tmp_path: Path, data: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        parts_of(tmp_path, **data)


def test_a_file_that_is_missing_truncated_or_unknown_is_named(tmp_path: Path) -> None:
    data = {"target": "y"}
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv is not there"):
        load(tiny(data={"path": str(tmp_path / "nowhere.csv"), **data})).build()
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"recipe \[data\]: .*cut.parquet \(4 bytes\) is no whole PARQUET file"):
        load(tiny(data={"path": str(tmp_path / "cut.parquet"), **data})).build()
    with pytest.raises(ValueError, match=r"table.xls ends in '.xls', so that its format is not known"):
        load(tiny(data={"path": str(tmp_path / "table.xls"), **data})).build()


def pickled(folder: Path, side: int) -> Path:
    random = np.random.default_rng(0)
    parts = [(random.random((rows, side), dtype=np.float32), random.integers(0, 10, rows)) for rows in (20, 10, 5)]
    path = folder / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps(tuple(parts))))
    return path


def test_the_pickle_of_the_tutorials_is_three_parts(tmp_path: Path) -> None:
    path = pickled(tmp_path, 49)
    recipe = load(tiny(model="convnet", data={"path": str(path)}, loss="cross_entropy"))
    assert recipe.data == {"path": str(path), "flat": True}
    learner, parts = recipe.build()
    assert [len(part[0]) for part in (parts.train, parts.valid, parts.test)] == [20, 10, 5]
    assert parts.train[0].shape == (20, 49)
    assert learner.module.image_shape == (1, 7, 7)
    _, square = load(tiny(model="convnet", data={"path": str(path), "flat": False}, loss="cross_entropy")).build()
    assert torch.equal(square.train[0].flatten(1), parts.train[0])


def test_rows_that_are_no_squares_stay_flat(tmp_path: Path) -> None:
    path = pickled(tmp_path, 50)
    with pytest.raises(ValueError, match=r"flat = false, but rows of 50 numbers are no square images"):
        load(tiny(data={"path": str(path), "flat": False}, loss="cross_entropy")).build()
    with pytest.raises(ValueError, match=r"\[model\].*image_shape = 'auto', but a row has the shape \(50,\)"):
        load(tiny(model="convnet", data={"path": str(path)}, loss="cross_entropy")).build()

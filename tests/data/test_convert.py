"""What each dtype becomes, and which columns are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from thalweg.data.convert import to_tensor

BECOMES = [
    ("float64", torch.float32),
    ("float32", torch.float32),
    ("float16", torch.float16),
    ("longdouble", torch.float32),
    (">f8", torch.float32),
    (">f4", torch.float32),
    ("int8", torch.int64),
    ("int16", torch.int64),
    (">i4", torch.int64),
    ("int64", torch.int64),
    ("uint8", torch.int64),
    ("uint32", torch.int64),
    ("uint64", torch.int64),
    ("bool", torch.bool),
    ("complex128", torch.complex64),
]


@pytest.mark.parametrize(("dtype", "becomes"), BECOMES)
def test_numpy_dtypes(dtype: str, becomes: torch.dtype) -> None:
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    tensor, columns = to_tensor(array, "x")
    assert (tensor.dtype, tensor.tolist(), columns) == (becomes, [[0, 1], [1, 0]], ())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int32, torch.uint8, torch.bool])
def test_torch_dtypes_stay(dtype: torch.dtype) -> None:
    assert to_tensor(torch.ones(2).to(dtype), "x")[0].dtype == dtype


FRAMES = [
    ({"a": [1.5], "b": [2]}, torch.float32, [[1.5, 2.0]]),
    ({"a": [1.5], "b": [True]}, torch.float32, [[1.5, 1.0]]),
    ({"a": [1], "b": [2]}, torch.int64, [[1, 2]]),
    ({"a": [1], "b": [True]}, torch.int64, [[1, 1]]),
    ({"a": [False], "b": [True]}, torch.bool, [[False, True]]),
]


@pytest.mark.parametrize(("columns", "dtype", "values"), FRAMES)
@pytest.mark.parametrize("library", [pd.DataFrame, pa.table], ids=["pandas", "Arrow"])
def test_columns_of_a_table_share_a_dtype(library: Any, columns: Any, dtype: torch.dtype, values: Any) -> None:
    tensor, names = to_tensor(library(columns), "x")
    assert (tensor.dtype, tensor.tolist(), names) == (dtype, values, ("a", "b"))


def test_names_of_columns_need_not_be_texts_or_unique() -> None:
    frame = pd.DataFrame([[1.0, 2.0, 3.0]], columns=[0, ("a", "b"), 0])
    tensor, names = to_tensor(frame, "x")
    assert (tensor.tolist(), names) == ([[1.0, 2.0, 3.0]], ("0", "('a', 'b')", "0"))


def test_negative_strides_and_views() -> None:
    array = np.arange(6.0)[::-2]
    assert to_tensor(array, "x")[0].tolist() == [5.0, 3.0, 1.0]


STRINGS = pd.DataFrame({"age": [1.0], "name": ["a"], "born": pd.to_datetime(["2020-01-01"]), "kind": ["b"]})
ADVICE = r"drop .* or encode|encode them as numbers first"

REFUSED = [
    ("objects", np.array([{}, 1], dtype=object), TypeError, rf"x holds objects \(dtype object\).*({ADVICE})"),
    ("strings", np.array(["a"]), TypeError, rf"x holds strings \(dtype <U1\).*({ADVICE})"),
    ("bytes", np.array([b"a"]), TypeError, r"x holds byte strings"),
    ("dates", np.array(["2020"], dtype="datetime64[Y]"), TypeError, r"x holds dates"),
    ("spans", np.array([1], dtype="timedelta64[s]"), TypeError, r"x holds time spans"),
    ("records", np.zeros(2, dtype=[("a", "f4")]), TypeError, r"x holds structured records"),
    ("a list of strings", ["a", "b"], TypeError, r"x holds strings"),
    ("a ragged list", [[1.0], [1.0, 2.0]], ValueError, r"x is a list whose rows differ in length.*pad them"),
    ("a mask", np.ma.masked_array([1.0, 2.0], [False, True]), ValueError, r"x is a masked array with masked values"),
    ("huge integers", np.array([2**63], dtype="uint64"), ValueError, r"x holds integers above 2\*\*63 − 1"),
    ("a sparse tensor", torch.eye(2).to_sparse(), TypeError, r"layout torch.sparse_coo.*to_dense"),
    (
        "columns of a DataFrame",
        STRINGS,
        TypeError,
        rf"x: columns hold no numbers: 'name' \((str|object)\), 'born' \(datetime64\[.*\]\), 'kind' .*({ADVICE})",
    ),
    (
        "a categorical column",
        STRINGS[["kind"]].astype("category"),
        TypeError,
        r"column holds no numbers: 'kind' \(category",
    ),
    ("a Series of strings", STRINGS["name"], TypeError, r"x: column holds no numbers: 'name'"),
    ("a nameless Series", pd.Series(["a"]), TypeError, r"x: column holds no numbers: 'values'"),
    (
        "many columns",
        pd.DataFrame({f"c{i}": ["a"] for i in range(8)}),
        TypeError,
        r"'c4' \((str|object)\) and 3 more",
    ),
    (
        "missing integers",
        pd.DataFrame({"a": pd.array([1, None, None], dtype="Int64")}),
        ValueError,
        r"column 'a' has no value in row 1 \(2 missing in all\), and integers have no NaN",
    ),
    ("no columns", pd.DataFrame(index=[0, 1]), ValueError, r"a DataFrame without columns"),
    (
        "an Arrow null",
        pa.table({"a": [1.0, None]}),
        ValueError,
        r"x: column 'a' has no value in row 1 \(1 missing in all\)",
    ),
    ("an Arrow array with nulls", pa.array([None, 1]), ValueError, r"x has no value in row 0"),
    ("an Arrow text", pa.table({"a": ["b"]}), TypeError, r"x: column 'a' holds no numbers \(Arrow type string\)"),
    ("an Arrow date", pa.array([0], pa.timestamp("s")), TypeError, r"x holds no numbers \(Arrow type timestamp"),
    (
        "lists in a table",
        pa.table({"a": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0]), 2)}),
        TypeError,
        r"column 'a' holds lists, and a table becomes one matrix",
    ),
    ("an Arrow table without columns", pa.table({}), ValueError, r"an Arrow table without columns"),
]


@pytest.mark.parametrize(("value", "error", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_number(value: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        to_tensor(value, "x")


def test_an_unmasked_masked_array_is_an_array() -> None:
    assert to_tensor(np.ma.masked_array([1.0, 2.0], [False, False]), "x")[0].tolist() == [1.0, 2.0]

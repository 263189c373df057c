"""NaN, infinities and impossible row weights are found, and named by row and column."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from thalweg.data import source
from thalweg.data.finite import check_finite

nan, inf = float("nan"), float("inf")
X = torch.ones(5, 3)
Named = namedtuple("Named", ["inputs", "labels"])
Y = torch.zeros(5)


def spoiled(shape: tuple[int, ...], *places: tuple[int, ...], value: float = nan, dtype: Any = torch.float32) -> Any:
    tensor = torch.zeros(shape, dtype=dtype)
    for place in places:
        tensor[place] = value
    return tensor


FRAME = pd.DataFrame({"age": [1.0, 2.0, nan], "height": [1.0, nan, 3.0]})

BAD = [
    ("features", (spoiled((5, 3), (2, 1)), Y), r"x is nan in row 2, column 1 \(the only such value\).*drop its row"),
    ("infinity", (spoiled((5, 3), (4, 0), value=-inf), Y), r"x is -inf in row 4, column 0"),
    (
        "both infinities",
        (torch.tensor([[inf], [-inf]]), torch.zeros(2)),
        r"x is inf in row 0, column 0 \(2 such values",
    ),
    ("several", (spoiled((5, 3), (1, 0), (1, 2), (3, 0)), Y), r"row 1, column 0 \(3 such values in 2 rows\)"),
    ("target", (X, spoiled((5,), (3,), (4,))), r"y is nan in row 3 \(2 such values in 2 rows\)"),
    ("images", (spoiled((5, 1, 4, 4), (2, 0, 3, 1)), Y), r"x is nan in row 2, position \(0, 3, 1\)"),
    ("second input", ((X, spoiled((5, 2), (0, 1))), Y), r"x\[1\] is nan in row 0, column 1"),
    ("dict", {"a": spoiled((5,), (2,)), "labels": Y}, r"a is nan in row 2"),
    ("half precision", (spoiled((5, 3), (2, 1), dtype=torch.float16), Y), r"x is nan in row 2, column 1"),
    ("bfloat16", (spoiled((5, 3), (2, 1), dtype=torch.bfloat16), Y), r"x is nan in row 2, column 1"),
    ("complex", (spoiled((5, 3), (2, 1), dtype=torch.complex64), Y), r"x is \(?nan.* in row 2, column 1"),
    ("DataFrame", (FRAME, [0, 1, 2]), r"x is nan in row 1, column 'height' \(2 such values in 2 rows\)"),
    ("nullable DataFrame", (FRAME.astype("Float64"), [0, 1, 2]), r"x is nan in row 1, column 'height'"),
    ("Series", ([1.0, 2.0, 3.0], FRAME["age"]), r"y \('age'\) is nan in row 2"),
    ("Arrow NaN", (pa.table({"a": [1.0, nan]}), [0, 1]), r"x is nan in row 1, column 'a'"),
    ("beyond float32", (np.array([[1.0], [1e300]]), [0, 1]), r"x is inf in row 1.*float64 values beyond 3.4e38"),
    ("negative weight", (X, Y, torch.tensor([1, 1, -0.5, 1, 1])), r"row_weight is -0.5 in row 2.*weights >= 0"),
    ("weight beside inputs", ((X, X), Y, torch.tensor([1, -2.0, 1, 1, 1])), r"row_weight is -2 in row 1"),
    ("named tuple", Named(X, spoiled((5,), (3,))), r"data: y is nan in row 3"),
    ("no weight", (X, Y, torch.zeros(5)), r"row_weight is 0 in every row"),
    ("NaN weight", (X, Y, spoiled((5,), (1,))), r"row_weight is nan in row 1"),
    (
        "loader",
        DataLoader(TensorDataset(spoiled((5, 3), (2, 1)), Y), batch_size=4),
        r"x is nan in the first batch, row 2",
    ),
    (
        "loader weight",
        DataLoader(TensorDataset(X, Y, torch.tensor([1, 1, -0.5, 1, 1])), batch_size=4),
        r"row_weight is -0.5 in the first batch, row 2",
    ),
    ("samples", [(nan, 1), (0.0, 1)], r"x is nan in the first batch, row 0"),
]


@pytest.mark.parametrize(("data", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_no_training_survives(data: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        source(data, batch_size=4).check()


@given(n=st.integers(1, 50), p=st.integers(1, 6), value=st.sampled_from([nan, inf, -inf]), data=st.data())
def test_one_bad_value_is_found_wherever_it_is(n: int, p: int, value: float, data: Any) -> None:
    row, column = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, p - 1))
    x = torch.randn(n, p, generator=torch.Generator().manual_seed(0))
    check_finite("x", x)
    x[row, column] = value
    with pytest.raises(ValueError, match=rf"x is {value} in row {row}, column {column} "):
        check_finite("x", x)


def test_a_sum_that_overflows_is_no_bad_value() -> None:
    check_finite("x", torch.full((4, 2), 3e38))
    check_finite("x", torch.full((4, 2), 6e4, dtype=torch.float16))


def test_integers_and_empty_tensors_pass() -> None:
    check_finite("x", torch.zeros(3, 0))
    check_finite("x", torch.tensor([2**62, -(2**62)]))

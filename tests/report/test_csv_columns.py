"""Reading CSV columns, against Python's own csv module."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.report.csv_columns import read_columns

CELL = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["", "nan", "inf", "-inf", "0", "12", "1e-07"]),
)


@given(rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=20), windows=st.booleans())
def test_agrees_with_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], windows: bool
) -> None:
    path = tmp_path_factory.mktemp("csv") / "history.csv"
    end = "\r\n" if windows else "\n"
    path.write_bytes("".join(",".join(row) + end for row in [("step", "loss", "lr/head"), *rows]).encode())
    with path.open(newline="") as lines:
        expected = list(csv.DictReader(lines))
    got = read_columns(path)
    assert list(got.values) == ["step", "loss", "lr/head"]
    assert len(got) == len(expected) == len(rows)
    assert not got.torn
    for name in got.values:
        cells = [row[name] for row in expected]
        assert got.recorded[name].tolist() == [cell != "" for cell in cells]
        numbers = np.array([float(cell or "nan") for cell in cells])
        assert np.array_equal(got.values[name], numbers, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "rows", "torn"),
    [
        ("", 0, False),
        ("step,loss\n", 0, False),
        ("step,loss", 0, True),
        ("step,loss\n1,2.5\n", 1, False),
        ("step,loss\n1,2.5\n2,1", 1, True),
        ("step,loss\n1", 0, True),
        ("step,loss\n,\n", 1, False),
    ],
)
def test_a_row_counts_once_its_newline_is_there(tmp_path: Path, text: str, rows: int, torn: bool) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    got = read_columns(path)
    assert (len(got), got.torn) == (rows, torn)


def test_what_was_recorded_and_what_was_not(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("step,loss,grad_norm,momentum\n1,nan,,nan\n2,0.5,3,nan\n")
    got = read_columns(path)
    assert [got.has(name) for name in ("loss", "grad_norm", "momentum", "lr")] == [True, True, False, False]
    step, norm = got.along("step", "grad_norm")
    assert (step.tolist(), norm.tolist()) == ([2.0], [3.0])
    step, loss = got.along("step", "loss")
    assert step.tolist() == [1.0, 2.0]
    assert np.isnan(loss[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "step,loss\n1,2\n1\n",
            r"history.csv: line 3 has 1 cell but the header names 2; give each row one",
        ),
        ("step,loss\n1,2,3\n", r"history.csv: line 2 has 3 cells but the header names 2"),
        ("step,loss\n1,high\n", r"history.csv: a cell is no number \(.*'high'"),
    ],
)
def test_damaged_rows_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_columns(path)

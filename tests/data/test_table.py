"""Columns of CSV and Parquet files, and files and columns that are not what they should be."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from thalweg.data import read_table, source

COLUMNS = {"width": [0.5, 1.5, 2.5], "count": [1, 2, 3], "kind": ["b", "a", "b"]}
CSV = "width,count,kind\n0.5,1,b\n1.5,2,a\n2.5,3,b\n"


def as_csv(path: Path) -> None:
    path.write_text(CSV)


def as_tsv(path: Path) -> None:
    path.write_text(CSV.replace(",", "\t"))


def as_packed_csv(path: Path) -> None:
    path.write_bytes(gzip.compress(CSV.encode()))


def as_parquet(path: Path) -> None:
    pa.parquet.write_table(pa.table(COLUMNS), path)


def as_dictionary(path: Path) -> None:
    pa.parquet.write_table(pa.table({**COLUMNS, "kind": pa.array(COLUMNS["kind"]).dictionary_encode()}), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", as_csv),
        ("a.CSV", as_csv),
        ("a.tsv", as_tsv),
        ("a.csv.gz", as_packed_csv),
        ("a.parquet", as_parquet),
        ("b.parquet", as_dictionary),
    ],
)
def test_every_format(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / name)
    table = read_table(tmp_path / name, target="kind")
    assert table.y is not None
    assert (table.x.dtype, table.x.tolist()) == (torch.float32, [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]])
    assert (table.y.dtype, table.y.tolist()) == (torch.int64, [1, 0, 1])
    assert (table.feature_names, table.target, table.classes) == (("width", "count"), "kind", ("a", "b"))
    assert source(table.data, batch_size=2).steps_per_epoch == 2


def test_numbers_as_target_and_chosen_features(tmp_path: Path) -> None:
    as_csv(tmp_path / "a.csv")
    table = read_table(tmp_path / "a.csv", target="width", features=["count"])
    assert table.y is not None
    assert (table.x.tolist(), table.y.tolist(), table.classes) == ([[1], [2], [3]], [0.5, 1.5, 2.5], ())
    alone = read_table(tmp_path / "a.csv", features=["count", "width"])
    assert alone.data is alone.x
    assert alone.feature_names == ("count", "width")


BAD = [
    (
        "a.csv",
        CSV,
        {"target": "kindd"},
        ValueError,
        r"a.csv: unknown column 'kindd'. Did you mean 'kind'\? Known: count",
    ),
    (
        "a.csv",
        CSV,
        {"target": "kind", "features": ["widht"]},
        ValueError,
        r"unknown column 'widht'. Did you mean 'width'",
    ),
    ("a.csv", CSV, {"target": "kind", "features": ["kind"]}, ValueError, r"column 'kind' is both target and feature"),
    ("a.csv", CSV, {"target": "kind", "features": []}, ValueError, r"no feature columns beside 'kind'"),
    ("a.csv", CSV, {"target": "width"}, TypeError, r"a.csv: column 'kind' holds no numbers \(Arrow type string\)"),
    ("a.csv", "", {}, ValueError, r"a.csv \(0 bytes\) is no whole CSV file: Empty CSV file"),
    ("a.csv", "width,kind\n", {"target": "kind"}, ValueError, r"has the columns width, kind but no rows"),
    ("a.csv", "a,b\n1,2\n3", {"target": "b"}, ValueError, r"is no whole CSV file: .*Expected 2 columns, got 1"),
    ("a.csv", "a,a,b\n1,2,3\n", {"target": "b", "features": ["a"]}, ValueError, r"has 2 columns named 'a'"),
    ("a.csv", "a,b\n1,2\n,3\n", {"target": "b"}, ValueError, r"a.csv: column 'a' has no value in row 1 \(1 missing"),
    ("a.csv", "a,b\n1,2\n2,\n", {"target": "b"}, ValueError, r"column 'b' has no value in row 1"),
    ("a.parquet", "PAR1 but no more", {}, ValueError, r"a.parquet \(16 bytes\) is no whole PARQUET file"),
    ("a.csv.gz", "no gzip", {}, ValueError, r"a.csv.gz \(7 bytes\) is no whole CSV file"),
    ("a.xlsx", "", {}, ValueError, r"ends in '.xlsx', so that its format is not known; give a .csv"),
    ("a", "", {}, ValueError, r"ends in 'nothing'|ends in nothing"),
]


@pytest.mark.parametrize(("name", "content", "arguments", "error", "said"), BAD)
def test_bad_files_and_columns(
    name: str, content: str, arguments: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=said):
        read_table(tmp_path / name, **arguments)


def test_missing_texts_in_a_target(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"a": [1.0, 2.0], "b": ["x", None]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"column 'b' has no value in row 1 \(1 missing in all\)"):
        read_table(tmp_path / "a.parquet", target="b")


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    as_parquet(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"a.parquet \(\d+ bytes\) is no whole PARQUET file"):
        read_table(path)


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent.csv is not there; check the path \(now in "):
        read_table(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder.csv is a folder, not a file"):
        read_table(tmp_path / "folder.csv")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"reading a.csv needs pyarrow; install it with thalweg\[data\]"):
        read_table("a.csv")

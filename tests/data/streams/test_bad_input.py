"""What is wrong with files is said by file, row and column, before or when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from thalweg.data import stream


@pytest.fixture
def array(tmp_path: Path) -> Path:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32))
    return tmp_path / "a.npy"


def read(source: Any) -> None:
    for _ in source.batches(0):
        pass


def test_truncated_npy(array: Path) -> None:
    whole = array.read_bytes()
    array.write_bytes(whole[: 128 + 16 * 700 + 5])
    with pytest.raises(ValueError, match=r"a\.npy is truncated: its header promises 1000 rows .* ends after 700"):
        stream(array)
    array.write_bytes(whole[:50])
    with pytest.raises(ValueError, match=r"a\.npy \(50 bytes\) has no whole \.npy header"):
        stream(array)


def test_npy_that_shrinks_before_it_is_read(array: Path) -> None:
    source = stream(array)
    array.write_bytes(array.read_bytes()[:8000])
    with pytest.raises(ValueError, match="has shrunk to 8000 bytes since the stream was made"):
        read(source)


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        (np.array(["a", "b"]), TypeError, r"holds <U1, not numbers"),
        (np.array([1j]), TypeError, r"holds complex128, not numbers"),
        (np.empty((0, 3)), ValueError, r"has the shape \(0, 3\), so that it has no rows"),
        (np.asfortranarray(np.ones((5, 3))), ValueError, r"lies in Fortran order"),
    ],
)
def test_npy_that_is_no_table_of_numbers(tmp_path: Path, values: Any, kind: type[Exception], said: str) -> None:
    np.save(tmp_path / "b.npy", values)
    with pytest.raises(kind, match=said):
        stream(tmp_path / "b.npy")


@pytest.mark.parametrize("shuffle", ["block", "full", False])
@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_values_that_are_not_finite(array: Path, shuffle: Any, value: float, said: str) -> None:
    values = np.load(array)
    values[777, 2] = value
    np.save(array, values)
    source = stream(array, target=-1, shuffle=shuffle, batch_size=100)
    with pytest.raises(ValueError, match=rf"row 777 of .*a\.npy: column 'x2' is {said}, and one such value"):
        read(source)
    with pytest.raises(ValueError, match=r"row 777 of .*a\.npy: column 'x2'"):
        source.check_values()
    source.check()  # looks at the first batch only
    read(stream(array, target=-1, columns=[0, 1], shuffle=shuffle))  # the column is not asked for


def test_targets_and_weights_that_are_not_finite(array: Path) -> None:
    values = np.load(array)
    values[3, 3], values[4, 0] = np.nan, -1.0
    np.save(array, values)
    with pytest.raises(ValueError, match=r"row 3 of .*: the target is nan"):
        read(stream(array, target=3))
    with pytest.raises(ValueError, match=r"row [0-9]+ of .*: the weight is -[0-9.]+, but a weight says how often"):
        read(stream(array, target=1, columns=[2], weight=0))


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"target": 4}, ValueError, r"target=4 is not a column of .*a\.npy, which has 4 \(0 … 3\)"),
        ({"target": "price"}, FileNotFoundError, r"the columns of \.npy have no names; give a number or a path"),
        ({"target": 1.5}, TypeError, r"target=1.5 is a float, but columns of \.npy are numbers"),
        ({"columns": [0, 0]}, ValueError, r"names a column twice"),
        ({"columns": [0, 1], "target": 1}, ValueError, r"column 1 is both feature and target or weight"),
        ({"target": slice(0, 4)}, ValueError, r"has 4 columns, and none is left beside the target"),
        ({"weight": 2}, ValueError, r"weight=2 weighs rows of a target, but target is None"),
        ({"weight": [1, 2], "target": 0}, ValueError, r"names several columns, but a row has one weight"),
        ({"filter": [("a", ">", 0)]}, ValueError, r"filter=… names columns, and .* has none to name"),
        ({"shuffle": "rows"}, ValueError, r"shuffle='rows' is no order"),
        ({"memory": "many"}, ValueError, r"memory='many' is no size; write e\.g\. '512 MiB'"),
        ({"memory": 1000}, ValueError, r"memory=1000 is less than 1 MiB"),
        ({"memory": None}, TypeError, r"memory=None must be a size"),
        ({"dtype": np.float32}, ValueError, r"is not read from files; choose torch\.float32 or torch\.float64"),
        ({"batch_size": 0}, ValueError, r"batch_size=0 must be >= 1"),
    ],
)
def test_settings_that_do_not_fit(array: Path, settings: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        stream(array, **settings)


def test_files_that_do_not_belong_together(array: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"has the shape \(4,\), one of .*b\.npy has \(5,\)"):
        stream(tmp_path)
    with pytest.raises(ValueError, match=r"a\.npy has 1000 rows, but target .*b\.npy has 3"):
        stream(array, target=str(tmp_path / "b.npy"))
    with pytest.raises(ValueError, match=r"is given twice"):
        stream([array, array])
    pq.write_table(pa.table({"a": [1.0]}), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=r"is npy and .*c\.parquet is parquet, but a stream is of one format"):
        stream(tmp_path)


def test_paths_that_lead_nowhere(tmp_path: Path, array: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.npy is not there .*Did you mean 'a\.npy'"):
        stream(tmp_path / "b.npy")
    with pytest.raises(FileNotFoundError, match=r"no file matches '.*\*\.parquet'"):
        stream(str(tmp_path / "*.parquet"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds 0 files, none of a known format"):
        stream(tmp_path / "empty")
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(ValueError, match=r"a\.txt ends in '\.txt', so that its format is not known"):
        stream(tmp_path / "a.txt")
    with pytest.raises(TypeError, match=r"paths is a ndarray, not a path"):
        stream(np.ones(3))
    with pytest.raises(ValueError, match="no paths were given"):
        stream([])


# ------------------------------------------------------------------------------------------------------------ tables


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).normal(size=4000)
    pq.write_table(
        pa.table({"price": values, "size": values, "name": ["n"] * 4000}),
        tmp_path / "t.parquet",
        row_group_size=1000,
        compression="zstd",
        use_dictionary=False,
    )
    return tmp_path / "t.parquet"


def test_a_damaged_row_group_is_named(parquet: Path) -> None:
    offset = pq.ParquetFile(parquet).metadata.row_group(2).column(0).data_page_offset
    content = bytearray(parquet.read_bytes())
    content[offset : offset + 2000] = bytes(2000)
    parquet.write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.parquet .*row group 2 of 4 cannot be read: .* truncated or damaged"):
        read(stream(parquet, columns=["price"], shuffle=False))


def test_truncated_tables_are_named(parquet: Path, tmp_path: Path) -> None:
    parquet.write_bytes(parquet.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"t\.parquet \(5000 bytes\) cannot be read"):
        stream(parquet)
    path = tmp_path / "t.arrow"
    pyarrow.feather.write_feather(pa.table({"a": np.ones(5000)}), path, compression="uncompressed")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ValueError, match=r"t\.arrow \(20000 bytes\) cannot be read"):
        stream(path)


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"target": "prise"}, ValueError, r"unknown column 'prise'\. Did you mean 'price'"),
        ({"columns": ["price", "syze"]}, ValueError, r"unknown column 'syze'\. Did you mean 'size'"),
        ({"columns": ["price"], "filter": [("pricee", ">", 0)]}, ValueError, r"filter: unknown column 'pricee'\. Did"),
        ({"columns": ["price"], "filter": [("price", "~", 0)]}, ValueError, r"filter: unknown operator '~'"),
        ({"columns": ["price"], "filter": "price > 0"}, TypeError, r"is neither a pyarrow\.compute expression nor"),
        ({"columns": ["price"], "filter": [("price", ">", 99)]}, ValueError, r"has no rows with filter="),
        ({"columns": ["price"], "target": "price"}, ValueError, r"column 'price' is asked for twice"),
        ({"columns": [0]}, TypeError, r"these files name their columns; give names, not 0"),
        ({}, TypeError, r"'name' \(string\) holds no numbers"),
        ({"columns": ["price"], "weight": "size"}, ValueError, r"weighs rows of a target, but target is None"),
    ],
)
def test_columns_that_do_not_fit(parquet: Path, settings: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        stream(parquet, **settings)


def test_columns_that_vanish_between_files(parquet: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"price": [1.0]}), tmp_path / "u.parquet")
    with pytest.raises(ValueError, match=r"u\.parquet has no column 'size', which .*t\.parquet has"):
        stream(tmp_path, columns=["price", "size"])
    pq.write_table(pa.table({"price": ["1"], "size": [1.0]}), tmp_path / "u.parquet")
    with pytest.raises(TypeError, match=r"u\.parquet: 'price' \(string\) holds no numbers"):
        stream(tmp_path, columns=["price", "size"])


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv"])
def test_nulls_are_named_by_row(tmp_path: Path, kind: str) -> None:
    values: list[float | None] = [1.0] * 3000
    values[2345] = None
    data = pa.table({"a": values, "b": [1.0] * 3000})
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(data, path, row_group_size=1000)
    elif kind == "arrow":
        pyarrow.feather.write_feather(data, path, compression="uncompressed", chunksize=1000)
    else:
        pa.csv.write_csv(data, path)
    with pytest.raises(ValueError, match=rf"row 2345 of .*t\.{kind}: column 'a' has no value \(null\); fill"):
        read(stream(path))
    assert stream(path, filter=[("a", "is not", None)]).n == 2999


def test_row_groups_too_large_for_the_memory(parquet: Path) -> None:
    pq.write_table(pa.table({"a": np.ones(200_000)}), parquet)
    with pytest.raises(
        ValueError, match=r"row 0 of .*t\.parquet has 200000 rows, so that two are 1 MiB, more than half"
    ):
        stream(parquet, memory="2 MiB")
    read(stream(parquet, memory="2 MiB", shuffle=False))


# --------------------------------------------------------------------------------------------------------------- CSV


def test_ragged_rows_are_named(tmp_path: Path) -> None:
    rows = [f"{i},{i}" for i in range(200_000)]
    rows[150_000] = "1,2,3"
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "\n".join(rows) + "\n")
    with pytest.raises(ValueError, match=r"row 150000 of .*t\.csv has 3 values, but there are 2 columns: '1,2,3'"):
        read(stream(path, shuffle=False))
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"row 1 of .*t\.csv has 1 values, but there are 2 columns"):
        stream(path)


def test_text_among_numbers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "1\n" * 700_000 + "many\n")
    with pytest.raises(ValueError, match=r"row 700000 of .*t\.csv: column number 0: .*'many'"):
        read(stream(path, shuffle=False))


@pytest.mark.parametrize(
    ("text", "said"), [("", "has no rows"), ("a,b\n", "has no rows"), ('a\n"1\n', "inside quotes|CSV")]
)
def test_csv_without_rows(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        stream(tmp_path / "t.csv")


def test_csv_as_it_comes(tmp_path: Path) -> None:
    """Blank lines, no newline at the end, carriage returns, integers that become fractions, tabs."""
    (tmp_path / "t.csv").write_bytes(b"a,b\r\n1,2\r\n\r\n3,4.5\r\n5,6")
    assert next(stream(tmp_path / "t.csv", shuffle=False).batches(0)).tolist() == [[1, 2], [3, 4.5], [5, 6]]
    (tmp_path / "t.tsv").write_text("a\tb\n1\t2\n")
    assert next(stream(tmp_path / "t.tsv").batches(0)).tolist() == [[1, 2]]
    (tmp_path / "q.csv").write_text('a,note\n1,"x\ny"\n2,"say ""no"""\n')
    assert next(stream(tmp_path / "q.csv", columns=["a"], shuffle=False).batches(0)).tolist() == [[1], [2]]

"""Every format gives the numbers that were written, in every order, from every place."""

from __future__ import annotations

import datetime
import decimal
from itertools import chain
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import torch

from thalweg.data import stream
from thalweg.data.streams import feed
from thalweg.data.streams.columns import Columns
from thalweg.data.streams.rows import Rows
from thalweg.engine import c_columns, c_compiler, c_rows

ROWS = 2003
VALUES = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
KINDS = ["npy", "parquet", "plain.parquet", "zstd.parquet", "feather", "lz4.feather", "arrows", "csv"]
FULL = {"npy", "plain.parquet", "feather", "arrows"}


def table() -> pa.Table:
    columns = {"row": np.arange(ROWS), **{f"c{i}": VALUES[:, i] for i in range(4)}}
    return pa.table({**columns, "kind": np.arange(ROWS) % 3, "w": np.full(ROWS, 0.5)})


def write(folder: Path, kind: str, data: pa.Table, name: str = "rows") -> str:
    path = str(folder / f"{name}.{kind}")
    if kind == "npy":
        np.save(path, np.stack([np.asarray(column) for column in data.columns], axis=1).astype(np.float32))
    elif kind == "parquet":
        pq.write_table(data, path, row_group_size=300)
    elif kind.endswith(".parquet"):
        compression = {"plain": "none", "zstd": "zstd"}[kind.split(".")[0]]
        pq.write_table(
            data, path, row_group_size=900, compression=compression, use_dictionary=False, data_page_size=400
        )
    elif kind == "feather":
        pyarrow.feather.write_feather(data, path, compression="uncompressed", chunksize=250)
    elif kind == "lz4.feather":
        pyarrow.feather.write_feather(data, path, compression="lz4", chunksize=250)
    elif kind == "arrows":
        with pa.ipc.new_stream(path, data.schema) as sink:
            sink.write_table(data, max_chunksize=250)
    else:
        pyarrow.csv.write_csv(data, path)
    return path


def make(path: Any, kind: str, **settings: Any) -> Any:
    named = {"columns": ["row", "c0", "c1", "c2"], "target": "c3", "weight": "w"}
    numbered = {"columns": [0, 1, 2, 3], "target": 4, "weight": 6}
    return stream(path, **{**(numbered if kind == "npy" else named), "batch_size": 64, **settings})


def check(source: Any, epoch: int = 1) -> None:
    seen = []
    for index, (x, y, w) in enumerate(source.batches(epoch)):
        rows = x[:, 0].long()
        np.testing.assert_allclose(x[:, 1:].numpy(), VALUES[rows, :3], rtol=1e-6)
        np.testing.assert_allclose(y.numpy(), VALUES[rows, 3], rtol=1e-6)
        assert set(w.tolist()) == {0.5}
        assert torch.equal(source.rows_of(epoch, index), rows)
        seen.append(rows.tolist())
    assert sorted(chain(*seen)) == list(range(ROWS))
    assert [x[:, 0].long().tolist() for x, _, _ in source.batches(epoch, 20)] == seen[20:]


@pytest.mark.parametrize("shuffle", ["block", "full", False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_row_arrives_once_in_every_order(tmp_path: Path, kind: str, shuffle: Any) -> None:
    path = write(tmp_path, kind, table())
    if shuffle == "full" and kind not in FULL:
        with pytest.raises(ValueError, match=r"shuffle='full' reaches for single rows, but .* must be read in blocks"):
            make(path, kind, shuffle=shuffle)
        return
    check(make(path, kind, shuffle=shuffle))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
def test_plain_pages_need_no_decoder(tmp_path: Path, compression: str, version: str) -> None:
    data = (
        table()
        .append_column("d", pa.array(np.arange(ROWS) * 0.5))
        .append_column("i", pa.array(range(ROWS), pa.int32()))
    )
    settings: dict[str, Any] = {"use_dictionary": False, "data_page_version": version, "data_page_size": 1000}
    pq.write_table(data, tmp_path / "a.parquet", compression=compression, row_group_size=600, **settings)
    source = make(tmp_path / "a.parquet", "parquet", columns=["row", "c0", "c1", "c2", "d", "i"], shuffle=False)
    assert set(source.table.parts[0].ways) == {"mapped" if compression == "none" else "decoded"}
    x = torch.cat([batch[0] for batch in source.batches(0)])
    np.testing.assert_array_equal(x[:, 1:4].numpy(), VALUES[:, :3])
    np.testing.assert_array_equal(x[:, 4].numpy(), np.arange(ROWS) * 0.5)
    np.testing.assert_array_equal(x[:, 5].numpy(), np.arange(ROWS))


@pytest.mark.parametrize("kind", ["npy", "parquet", "feather", "csv"])
def test_urls_are_read_through_fsspec(tmp_path: Path, kind: str) -> None:
    system = fsspec.filesystem("memory")
    system.pipe(f"/thalweg/rows.{kind}", Path(write(tmp_path, kind, table())).read_bytes())
    check(make(f"memory://thalweg/rows.{kind}", kind))
    check(make(f"memory://thalweg/rows.{kind}", kind, shuffle=False))
    with pytest.raises(FileNotFoundError, match=r"nothing is at memory://thalweg/gone\.npy"):
        stream("memory://thalweg/gone.npy")


@pytest.mark.parametrize("kind", KINDS)
def test_several_files_are_one_table(tmp_path: Path, kind: str) -> None:
    whole = table()
    for number, (start, stop) in enumerate([(0, 700), (700, 701), (701, ROWS)]):
        write(tmp_path, kind, whole.slice(start, stop - start), f"part{number}")
    check(make(str(tmp_path), kind))
    check(make(str(tmp_path / f"*.{kind}"), kind, shuffle=False))
    if kind in FULL:
        check(make(sorted(tmp_path.iterdir()), kind, shuffle="full"))


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_one_pass_in_the_order_of_the_files(tmp_path: Path, kind: str) -> None:
    source = make(write(tmp_path, kind, table()), kind, memory="1 MiB", dtype=torch.float64)
    start = 0
    for x, y, w in source.blocks():
        np.testing.assert_array_equal(x[:, 0], np.arange(start, start + len(x)))
        np.testing.assert_allclose(y, VALUES[start : start + len(x), 3], rtol=1e-6)
        assert x.dtype == w.dtype == np.float64
        start += len(x)
    assert start == ROWS
    assert source.feature_names == (("x0", "x1", "x2", "x3") if kind == "npy" else ("row", "c0", "c1", "c2"))


def test_blocks_of_npy_are_the_file_itself(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    before = (tmp_path / "a.npy").read_bytes()
    for x, y, _ in stream(tmp_path / "a.npy", target=-1).blocks():
        assert not x.flags.owndata
        assert y.shape == (ROWS,)
        x[0] = 7.0  # memory of this process, not the file
    assert (tmp_path / "a.npy").read_bytes() == before


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv"])
@pytest.mark.parametrize(
    "condition",
    [[("kind", "==", 1)], ("kind", "in", [1]), compute.field("kind") == 1, [("kind", ">", 0), ("kind", "<", 2)]],
)
def test_filters_leave_rows_out(tmp_path: Path, kind: str, condition: Any) -> None:
    source = make(write(tmp_path, kind, table()), kind, filter=condition)
    rows = sorted(chain(*(x[:, 0].long().tolist() for x, _, _ in source.batches(0))))
    assert rows == list(range(1, ROWS, 3))
    assert source.n == len(rows)


def test_folders_named_by_keys_are_columns(tmp_path: Path) -> None:
    for year in (2001, 2002):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"a": [1.0, 2.0]}), tmp_path / f"year={year}" / "part.parquet")
    (x,) = (batch for batch in stream(tmp_path, columns=["a", "year"], shuffle=False).batches(0))
    assert x.tolist() == [[1, 2001], [2, 2001], [1, 2002], [2, 2002]]
    assert stream(tmp_path, columns=["a"], filter=[("year", "==", 2002)]).n == 2


# ------------------------------------------------------------------------------------------------------------- types

DAY = datetime.date(1970, 1, 11)
TYPES = [
    (pa.array([True, False]), [1.0, 0.0]),
    (pa.array([3, -4], pa.int8()), [3.0, -4.0]),
    (pa.array([3, 2**40], pa.uint64()), [3.0, 2.0**40]),
    (pa.array([0.5, 2.0], pa.float16()), [0.5, 2.0]),
    (pa.array([decimal.Decimal("1.25"), decimal.Decimal("-3.50")]), [1.25, -3.5]),
    (pa.array([DAY, DAY], pa.date32()), [10.0, 10.0]),
    (pa.array([DAY, DAY], pa.date64()), [10.0, 10.0]),
    (pa.array([datetime.datetime(1970, 1, 2, 12)] * 2, pa.timestamp("ms")), [1.5, 1.5]),
    (pa.array([datetime.timedelta(minutes=1)] * 2, pa.duration("us")), [60.0, 60.0]),
    (pa.array([5, 7]).dictionary_encode(), [5.0, 7.0]),
]


@pytest.mark.parametrize(("column", "numbers"), TYPES, ids=lambda value: str(getattr(value, "type", "")))
@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_types_become_the_numbers_of_the_table(
    tmp_path: Path, kind: str, column: pa.Array, numbers: list[float]
) -> None:
    path = write(tmp_path, kind, pa.table({"a": column}))
    assert next(stream(path, shuffle=False, dtype=torch.float64).batches(0)).flatten().tolist() == numbers


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b"]),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array([b"a", b"b"]),
        pa.array([[1], [2]]),
        pa.array([datetime.time(1), datetime.time(2)]),
    ],
    ids=lambda column: str(column.type),
)
def test_other_types_are_refused_by_name(tmp_path: Path, column: pa.Array) -> None:
    path = write(tmp_path, "parquet", pa.table({"a": column, "b": [1.0, 2.0]}))
    with pytest.raises(TypeError, match=r"'a' \(.*\) holds no numbers; leave it out with columns"):
        stream(path)
    assert next(stream(path, columns=["b"], shuffle=False).batches(0)).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv"])
def test_targets_of_integers_are_classes(tmp_path: Path, kind: str) -> None:
    _, y = next(stream(write(tmp_path, kind, table()), target="kind", columns=["c0"], shuffle=False).batches(0))
    assert y.dtype == torch.int64
    assert y[:4].tolist() == [0, 1, 2, 0]


def test_several_targets_are_columns_of_y(tmp_path: Path) -> None:
    path = write(tmp_path, "parquet", table())
    _, y = next(stream(path, target=["c1", "c2"], columns=["c0"], shuffle=False).batches(0))
    np.testing.assert_array_equal(y.numpy(), VALUES[:, 1:3])


# --------------------------------------------------------------------------------------------------------------- npy


def test_targets_and_weights_of_npy_may_lie_beside(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES.astype(np.float64))
    np.save(tmp_path / "y.npy", np.arange(ROWS))
    np.save(tmp_path / "w.npy", np.ones(ROWS))
    source = stream(tmp_path / "x.npy", target=tmp_path / "y.npy", weight=str(tmp_path / "w.npy"), batch_size=50)
    for x, y, w in source.batches(0):
        assert (x.dtype, y.dtype, w.dtype) == (torch.float32, torch.int64, torch.float32)
        np.testing.assert_array_equal(x.numpy(), VALUES[y])


def test_slices_of_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    x, y = next(stream(tmp_path / "a.npy", target=slice(2, None), shuffle=False).batches(0))
    np.testing.assert_array_equal(x.numpy(), VALUES[:, :2])
    np.testing.assert_array_equal(y.numpy(), VALUES[:, 2:])
    x, y = next(stream(tmp_path / "a.npy", target=1, columns=[3, 0], shuffle="full").batches(0))
    assert x.shape == (ROWS, 2)


def test_images_keep_their_shape(tmp_path: Path) -> None:
    images = np.arange(10 * 6, dtype=np.uint8).reshape(10, 1, 2, 3)
    np.save(tmp_path / "x.npy", images)
    for shuffle in ("block", "full", False):
        source = stream(tmp_path / "x.npy", batch_size=4, shuffle=shuffle)
        for index, x in enumerate(source.batches(0)):
            np.testing.assert_array_equal(x.numpy(), images[source.rows_of(0, index)])


def test_single_rows_are_gathered(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    source = stream(tmp_path / "a.npy", target=-1)
    x, _ = source.gather(torch.tensor([5, 2000, 5]))
    np.testing.assert_array_equal(x.numpy(), VALUES[[5, 2000, 5], :3])
    np.testing.assert_array_equal(source.first()[1].numpy(), VALUES[:, 3])
    with pytest.raises(TypeError, match=r"gather: 1 rows were asked for"):
        stream(write(tmp_path, "csv", table()), columns=["c0"]).gather(torch.tensor([0]))


@pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")
@pytest.mark.parametrize("shuffle", ["block", "full"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target", [None, 18])
def test_rows_taken_by_the_kernel_are_those_taken_by_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shuffle: Any, dtype: Any, target: int | None
) -> None:
    values = np.random.default_rng(0).standard_normal((3000, 19)).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    settings: dict[str, Any] = {"shuffle": shuffle, "target": target, "batch_size": 128}
    source = stream(str(tmp_path / "a.npy"), dtype=torch.from_numpy(values).dtype, **settings)

    def rows() -> list[Any]:
        return [torch.column_stack(batch) if target else batch for batch in source.batches(1)]

    plain = rows()
    monkeypatch.setattr(c_rows, "_WORTH_COMPILING", 0)
    taken = rows()
    assert type(feed._lying(source.table.reader())) is Rows, "this is what the test is about"
    for one, other in zip(plain, taken, strict=True):
        assert torch.equal(one, other)
    values[2222, 7] = np.inf
    np.save(tmp_path / "a.npy", values)
    source = stream(str(tmp_path / "a.npy"), dtype=torch.from_numpy(values).dtype, **settings)
    with pytest.raises(ValueError, match=r"row 2222 of .*a\.npy: column 'x7' is inf"):
        rows()


@pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 7, 8, 41])
def test_columns_become_rows_by_the_kernel(monkeypatch: pytest.MonkeyPatch, dtype: Any, count: int) -> None:
    monkeypatch.setattr(c_columns, "_WORTH_COMPILING", 0)
    memory = np.random.default_rng(0).integers(0, 200, (count, 333 * np.dtype(dtype).itemsize + 1)).astype(np.uint8)
    columns = [np.frombuffer(own.tobytes(), dtype, 333, 1) for own in memory]  # at odd addresses, as in a page
    into = Rows(np.zeros((300, count), dtype), None, None)
    with np.errstate(invalid="ignore"):
        Columns(columns, count).fill(20, into)
    np.testing.assert_array_equal(into.x, np.stack(columns, 1)[20:320])
    places = np.array([[column.ctypes.data for column in columns]])
    assert c_columns.columns_to_rows(places, np.array([300]), into.x) is np.isfinite(into.x).all().item()

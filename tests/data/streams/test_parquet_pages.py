"""Parquet pages read without Arrow: the same numbers as Arrow reads, in every encoding, from every place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from thalweg.data import stream
from thalweg.data.streams import page_headers as headers_module
from thalweg.data.streams.kernels import KERNELS, Kernels
from thalweg.engine import c_columns, c_compiler, c_pages

pytestmark = pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")

ROWS = 3001


@pytest.fixture(autouse=True)
def _worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_columns, "_WORTH_COMPILING", 0)
    monkeypatch.setattr(c_columns, "_WORTH_A_CALL", 0)


def columns(mixed: bool) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {f"c{i}": rng.integers(0, 2 + 40**i, ROWS).astype(np.float32) for i in range(3)}
    found["row"] = np.arange(ROWS, dtype=np.float32)
    if mixed:
        found |= {"i": rng.integers(-9, 9, ROWS), "d": rng.normal(size=ROWS), "s": np.zeros(ROWS, np.int32)}
    return found


def write(path: Path, data: dict[str, Any], **settings: Any) -> str:
    pq.write_table(pa.table(data), path, row_group_size=1100, **settings)
    return str(path)


@pytest.mark.parametrize("shuffle", [False, "block", "full"])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_page_gives_the_numbers_that_were_written(
    tmp_path: Path, shuffle: Any, mixed: bool, dictionary: bool, compression: str, version: str
) -> None:
    data = columns(mixed)
    pages = {"data_page_size": 700, "write_batch_size": 50, "dictionary_pagesize_limit": 1500}
    settings = {"use_dictionary": dictionary, "compression": compression, "data_page_version": version}
    path = write(tmp_path / "a.parquet", data, **pages, **settings)
    mapped = compression == "none" and not dictionary
    if shuffle == "full" and not mapped:
        with pytest.raises(ValueError, match="must be read in blocks"):
            stream(path, shuffle=shuffle)
        return
    source = stream(path, batch_size=77, shuffle=shuffle, target="c0")
    part: Any = source.table.parts[0]
    assert set(part.ways) == {"mapped" if mapped else "decoded"}
    expected = np.stack([data[name] for name in data if name != "c0"], 1).astype(np.float32)
    seen = []
    for x, y in source.batches(1):
        rows = x[:, 2].long().numpy()
        np.testing.assert_array_equal(x.numpy(), expected[rows])
        np.testing.assert_array_equal(y.numpy(), data["c0"][rows])
        seen.append(rows)
    assert sorted(np.concatenate(seen).tolist()) == list(range(ROWS))
    lent = [rows.x[place][:, 2].astype(int) for rows, place in source.lying(1)]
    for one, other in zip(seen, lent, strict=True):
        np.testing.assert_array_equal(one, other)
    if not mapped:
        group = part.group(0, part.opened())
        assert group is not None, "this is what the test is about"


def test_the_kernel_reads_headers_as_python_does(tmp_path: Path) -> None:
    for number, version in enumerate(["1.0", "2.0"]):
        path = write(tmp_path / f"{number}.parquet", columns(True), data_page_version=version, data_page_size=900)
        data = np.fromfile(path, np.uint8)
        metadata = pq.read_metadata(path)
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(1).column(index)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            read = headers_module._read(data, start, chunk.num_values, "a")
            found = c_pages.page_headers(data, start, chunk.num_values)
            assert len(read) > 1
            assert found is not None
            np.testing.assert_array_equal(found, read)
            for cut in range(start, start + 60):  # a file that ends in a header, or in a page
                assert c_pages.page_headers(data[:cut], start, chunk.num_values) is None
                with pytest.raises(OSError, match="column 'a' has a page header that is no header"):
                    headers_module._read(data[:cut], start, chunk.num_values, "a")


def test_places_outside_the_dictionary_are_refused() -> None:
    dictionary, out = np.arange(3, dtype=np.float32), np.zeros(8, np.float32)
    packed = np.array([2, 3, 0b11100100, 0b00000110], np.uint8)  # two bits each: 0 1 2 3 …, and 3 is not there
    assert c_pages.unpack_dictionary(packed, dictionary, out) is False
    packed[2:] = [0b00100100, 0b00000110]
    assert c_pages.unpack_dictionary(packed, dictionary, out) is True
    assert out.tolist() == [0, 1, 2, 0, 2, 1, 0, 0]
    assert c_pages.unpack_dictionary(packed[:3], dictionary, out) is False, "it ends too early"
    run = np.array([2, 16, 1], np.uint8)  # eight times place 1
    assert c_pages.unpack_dictionary(run, dictionary, out) is True
    assert out.tolist() == [1.0] * 8


@pytest.mark.parametrize("dictionary", [False, True])
def test_without_kernels_the_numbers_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dictionary: bool
) -> None:
    path = write(tmp_path / "a.parquet", columns(False), use_dictionary=dictionary, compression="none")
    with_kernels = list(stream(path, batch_size=100).batches(0))
    for name, value in vars(Kernels()).items():
        monkeypatch.setattr(KERNELS, name, value)
    for one, other in zip(stream(path, batch_size=100).batches(0), with_kernels, strict=True):
        assert torch.equal(one, other)  # type: ignore[arg-type]


def test_durations_are_not_taken_for_the_integers_that_store_them(tmp_path: Path) -> None:
    data = pa.table({"a": pa.array([60_000_000], pa.duration("us"))})
    pq.write_table(data, tmp_path / "a.parquet", use_dictionary=False)
    assert next(stream(tmp_path / "a.parquet").batches(0)).tolist() == [[60.0]]

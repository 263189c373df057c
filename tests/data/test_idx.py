"""IDX files of every type, plain and gzipped, whole and damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data import read_idx

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}


def idx_bytes(array: np.ndarray[Any, Any], code: int) -> bytes:
    """Write the format with struct, value by value: a second opinion on byte order."""
    letter = {0x08: "B", 0x09: "b", 0x0B: "h", 0x0C: "i", 0x0D: "f", 0x0E: "d"}[code]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + struct.pack(f">{array.size}{letter}", *array.flatten().tolist())


@given(
    code=st.sampled_from(list(TYPES)), shape=st.lists(st.integers(0, 4), min_size=1, max_size=4), packed=st.booleans()
)
def test_every_type_and_shape(code: int, shape: list[int], packed: bool, tmp_path_factory: Any) -> None:
    array = (np.arange(np.prod(shape)).reshape(shape) % 100 - (0 if code == 0x08 else 50)).astype(TYPES[code])
    path = tmp_path_factory.mktemp("idx") / "values"
    content = idx_bytes(array, code)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_idx(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array)


WHOLE = idx_bytes(np.arange(6).reshape(2, 3), 0x08)

DAMAGED = [
    (
        "truncated",
        WHOLE[:-2],
        r"is truncated: its header says shape \(2, 3\) of uint8, 18 bytes in all, but it holds 16",
    ),
    ("too long", WHOLE + b"\x00", r"is too long: its header says shape \(2, 3\) of uint8, 18 bytes in all, .*holds 19"),
    ("half a header", WHOLE[:9], r"is truncated: its header takes 12 bytes for 2 dimensions, but the file holds 9"),
    ("empty", b"", r"is no IDX file: it begins with nothing"),
    ("other", b"PK\x03\x04 and more", r"is no IDX file: it begins with 50 4b 03 04, but an IDX file begins with 00 00"),
    ("unknown type", b"\x00\x00\x0a\x01" + bytes(4), r"is no IDX file: it begins with 00 00 0a 01"),
    ("huge", b"\x00\x00\x0e\x03" + b"\xff" * 12, r"is truncated: .* but it holds 16"),
    ("truncated gzip", gzip.compress(WHOLE)[:-9], r"\(\d+ bytes\) is a damaged or truncated gzip file"),
    ("damaged gzip", gzip.compress(WHOLE)[:-6] + bytes(6), r"is a damaged or truncated gzip file \(CRC check failed"),
    ("half a gzip", gzip.compress(WHOLE * 50)[:20], r"is a damaged or truncated gzip file"),
]


@pytest.mark.parametrize(("content", "said"), [row[1:] for row in DAMAGED], ids=[row[0] for row in DAMAGED])
def test_damaged_files_are_named(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "train-labels"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"read_idx: .*train-labels.*{said}"):
        read_idx(path)


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*absent; `thalweg data mnist` or `make data`"):
        read_idx(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"is a folder, not a file"):
        read_idx(tmp_path)

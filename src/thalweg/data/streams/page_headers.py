"""The headers of the pages of a Parquet column chunk, as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernels import KERNELS
from .thrift import read_struct

__all__ = [
    "BODY",
    "COMPRESSED",
    "DATA",
    "DATA_V2",
    "DICTIONARY",
    "ENCODING",
    "IS_COMPRESSED",
    "LEVELS",
    "SIZE",
    "TYPE",
    "VALUES",
    "page_headers",
]

TYPE, ENCODING, BODY, COMPRESSED, SIZE, VALUES, LEVELS, IS_COMPRESSED = range(8)  # columns of what is returned
DATA, DICTIONARY, DATA_V2 = 0, 2, 3  # PageType

_HEADER = 256  # bytes that most page headers fit into
_LONGEST_HEADER = 1 << 16


def page_headers(data: NDArray[np.uint8], start: int, values: int, column: str) -> NDArray[np.int64]:
    """Return what the headers of a chunk's pages say, **(pages, 8)**, its dictionary first where it has one.

    The columns: type, encoding, the byte at which the page's own bytes begin, how many they are in the file and
    uncompressed, its values, the bytes of levels before them (0 for pages of version 1, whose levels tell their own
    length), whether it is compressed. A number that is not there is −1.

    Args:
        data: the whole file.
        start: the byte at which the first header begins.
        values: of the chunk.
        column: its name, for messages.

    Raises:
        OSError: something is no header, or a page does not end with the file.

    Source: Apache Parquet format 2.10, *parquet.thrift* (PageHeader, DataPageHeader, DictionaryPageHeader,
    DataPageHeaderV2).
    """
    found = None if KERNELS.page_headers is None else KERNELS.page_headers(data, start, values)
    return _read(data, start, values, column) if found is None else found


def _read(data: NDArray[np.uint8], start: int, values: int, column: str) -> NDArray[np.int64]:
    pages = []
    while values > 0:
        header, body = _header(data, start, column)
        second = header.get(1) == DATA_V2
        inner = header.get(8, {}) if second else header.get(5, header.get(7, {}))
        count = inner.get(1, -1)
        if count < 0 or header[2] < 0 or not 0 <= header[3] <= len(data) - body:
            raise OSError(f"column {column!r} has a page header that is no header (its numbers do not fit the file)")
        levels = max(0, inner.get(5, 0)) + max(0, inner.get(6, 0)) if second else 0
        packed = int(inner.get(7, True)) if second else 1
        sizes = [body, header[3], header[2], count, levels, packed]
        pages.append([header.get(1, -1), inner.get(4 if second else 2, -1), *sizes])
        if header.get(1) in (DATA, DATA_V2):
            if not 0 < count <= values:
                raise OSError(f"column {column!r} has a page of {count} values where {values} are left")
            values -= count
        start = body + header[3]
    return np.array(pages, np.int64).reshape(-1, 8)


def _header(data: NDArray[np.uint8], start: int, column: str) -> tuple[dict[int, Any], int]:
    for most in (_HEADER, _LONGEST_HEADER):
        try:
            header, length = read_struct(data[start : start + most].tobytes(), 0)
            if {2, 3} <= header.keys():
                return header, start + length
            raise ValueError("it has no sizes")
        except (IndexError, ValueError) as error:
            wrong = error
    raise OSError(f"column {column!r} has a page header that is no header ({wrong})")

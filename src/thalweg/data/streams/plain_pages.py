"""Parquet pages of plainly encoded numbers, without a decoder: the values lie in them as they are in memory."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import File
from .thrift import read_struct

__all__ = ["Located", "PlainPages"]

_TYPES = {"FLOAT": ("float32", 4), "DOUBLE": ("float64", 8), "INT32": ("int32", 4), "INT64": ("int64", 8)}
_DATA, _DATA_V2 = 0, 3  # PageType
_PLAIN = 0  # Encoding
_HEADER = 256  # bytes that most page headers fit into
_LONGEST_HEADER = 1 << 16
_THREADS = 4  # that decompress, at most; each column is one piece of work

Page = tuple[memoryview, int, int]
"""The bytes of the values, how many values they are, and at which byte of the file they begin (uncompressed)."""

Located = tuple[list[int], list[list[int]]]
"""The rows of every page of a row group, and for every column at which byte the values of each page begin."""


class PlainPages:
    """The row groups of a local file as Arrow tables over its pages.

    Uncompressed pages are views of the mapped file, so that any row of them is reached at once; compressed ones are
    decompressed when their row group is asked for. Only for columns of 32 or 64-bit floats or signed integers without
    nulls, whose metadata promise plain encoding; `group` returns None for all else, and Arrow decodes it.

    Args:
        file: a local file.
        metadata: its ``pyarrow.parquet`` metadata.
        names: the columns wanted.
        located: row group → where its pages are, kept from one reader to the next.

    Source: Apache Parquet format 2.10, *parquet.thrift* (PageHeader, DataPageHeader, DataPageHeaderV2) and *Encodings*,
    section "Plain".
    """

    def __init__(self, file: File, metadata: Any, names: list[str], located: dict[int, Located | None]) -> None:
        with file.open() as opened:
            self._data = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        self._metadata = metadata
        self._names = names
        self._located = located
        schema = metadata.schema
        self._places = {schema.column(index).path: index for index in range(len(schema))}

    def is_plain(self, unit: int) -> bool:
        """Return whether the metadata promise that every wanted column of a row group is plain."""
        return all(name in self._places and self._promised(unit, self._places[name]) for name in self._names)

    def is_uncompressed(self, unit: int) -> bool:
        """Return whether no wanted column of a row group is compressed."""
        group = self._metadata.row_group(unit)
        return all(group.column(self._places[name]).compression == "UNCOMPRESSED" for name in self._names)

    def _promised(self, unit: int, place: int) -> bool:
        chunk, column = self._metadata.row_group(unit).column(place), self._metadata.schema.column(place)
        return bool(
            chunk.physical_type in _TYPES
            and str(column.logical_type.type) == "NONE"
            and set(chunk.encodings) <= {"PLAIN", "RLE"}
            and not chunk.has_dictionary_page
            and column.max_repetition_level == 0
            and column.max_definition_level <= 1
            and chunk.is_stats_set
            and chunk.statistics.null_count == 0
        )

    def group(self, unit: int) -> Any:
        """Return a row group as an Arrow table, or None where a page is not plain after all.

        Raises:
            OSError: a page is damaged.
        """
        import pyarrow as pa

        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="thalweg-pages") as pool:
            found = list(pool.map(lambda name: self._pages(unit, self._places[name]), self._names))
        columns = []
        for name, pages in zip(self._names, found, strict=True):
            if pages is None:
                return None
            kind = pa.type_for_alias(self._kind(unit, name)[0])
            arrays = [pa.Array.from_buffers(kind, count, [None, pa.py_buffer(data)]) for data, count, _ in pages]
            columns.append(pa.chunked_array(arrays, kind))
        return pa.table(columns, names=self._names)

    def views(self, unit: int) -> tuple[NDArray[np.int64], list[list[NDArray[Any]]]] | None:
        """Return the first row of every page of a row group, and the columns' values there, as views.

        None where a page is not plain, or where the columns' pages end at different rows.

        Raises:
            OSError: a page is damaged.
        """
        if unit not in self._located:
            self._located[unit] = self._locate(unit)
        found = self._located[unit]
        if found is None:
            return None
        counts, places = found
        kinds = [np.dtype(self._kind(unit, name)[0]) for name in self._names]
        pieces = [
            [np.frombuffer(self._data, kind, count, own[page]) for kind, own in zip(kinds, places, strict=True)]
            for page, count in enumerate(counts)
        ]
        return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64), pieces

    def _locate(self, unit: int) -> Located | None:
        places, sizes = [], None
        for name in self._names:
            pages = self._pages(unit, self._places[name])
            counts = None if pages is None else [count for _, count, _ in pages]
            if pages is None or counts is None or (sizes is not None and counts != sizes):
                return None
            sizes = counts
            places.append([place for _, _, place in pages])
        return sizes or [], places

    def _kind(self, unit: int, name: str) -> tuple[str, int]:
        return _TYPES[self._metadata.row_group(unit).column(self._places[name]).physical_type]

    def _header(self, start: int, column: str) -> tuple[dict[int, Any], int]:
        for most in (_HEADER, _LONGEST_HEADER):
            try:
                header, length = read_struct(bytes(self._data[start : start + most]), 0)
                if {2, 3} <= header.keys():
                    return header, start + length
                raise ValueError("it has no sizes")
            except (IndexError, ValueError) as error:
                wrong = error
        raise OSError(f"column {column!r} has a page header that is no header ({wrong})")

    def _pages(self, unit: int, place: int) -> list[Page] | None:
        import pyarrow as pa

        chunk, column = self._metadata.row_group(unit).column(place), self._metadata.schema.column(place)
        width, levels, path = _TYPES[chunk.physical_type][1], column.max_definition_level, column.path
        codec = None if chunk.compression == "UNCOMPRESSED" else pa.Codec(chunk.compression.lower())
        start, left, pages = chunk.data_page_offset, chunk.num_values, []
        while left > 0:
            header, body = self._header(start, path)
            start = body + header[3]
            page = _page(header, self._data[body:start], None if codec is None else codec.decompress, levels)
            if page is None:
                return None
            data, skipped, count = page
            if not 0 < count <= left or len(data) < skipped + count * width:
                raise OSError(f"column {path!r} has a page of {count} values in {len(data)} bytes")
            pages.append((data[skipped : skipped + count * width], count, body + skipped))
            left -= count
        return pages


def _page(
    header: dict[int, Any], data: memoryview, decompress: Callable[..., Any] | None, levels: int
) -> tuple[memoryview, int, int] | None:
    """Return a page's bytes, decompressed, how many of them come before the values, and the number of values.

    None where the page is not plain.
    """
    if header.get(1) == _DATA and header.get(5, {}).get(2) == _PLAIN:
        if decompress is not None:
            data = memoryview(decompress(data, header[2]))
        # Levels of a column that may hold nulls come first, with their length in four bytes.
        return data, 4 + int.from_bytes(data[:4], "little") if levels else 0, header[5][1]
    inner = header.get(8, {})
    if header.get(1) == _DATA_V2 and inner.get(4) == _PLAIN:
        skipped = inner.get(5, 0) + inner.get(6, 0)
        if decompress is not None and inner.get(7, True):
            return memoryview(decompress(data[skipped:], header[2] - skipped)), 0, inner[1]
        return data, skipped, inner[1]
    return None

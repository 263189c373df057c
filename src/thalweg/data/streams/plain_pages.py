"""Parquet pages of plainly encoded numbers, without a decoder: the values lie in them as they are in memory."""

from __future__ import annotations

import mmap
from typing import Any

from .files import File
from .thrift import read_struct

__all__ = ["PlainPages"]

_TYPES = {"FLOAT": ("float32", 4), "DOUBLE": ("float64", 8), "INT32": ("int32", 4), "INT64": ("int64", 8)}
_DATA, _DATA_V2 = 0, 3  # PageType
_PLAIN = 0  # Encoding


class PlainPages:
    """The row groups of a local file as Arrow tables over its pages.

    Uncompressed pages are views of the mapped file, so that any row of them is reached at once; compressed ones are
    decompressed when their row group is asked for. Only for columns of 32 or 64-bit floats or signed integers without
    nulls, whose metadata promise plain encoding; `group` returns None for all else, and Arrow decodes it.

    Args:
        file: a local file.
        metadata: its ``pyarrow.parquet`` metadata.
        names: the columns wanted.

    Source: Apache Parquet format 2.10, *parquet.thrift* (PageHeader, DataPageHeader, DataPageHeaderV2) and *Encodings*,
    section "Plain".
    """

    def __init__(self, file: File, metadata: Any, names: list[str]) -> None:
        with file.open() as opened:
            self._data = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        self._metadata = metadata
        self._names = names
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

        columns = []
        for name in self._names:
            pages = self._pages(unit, self._places[name])
            if pages is None:
                return None
            columns.append(pa.chunked_array(pages))
        return pa.table(columns, names=self._names)

    def _pages(self, unit: int, place: int) -> list[Any] | None:
        import pyarrow as pa

        chunk, column = self._metadata.row_group(unit).column(place), self._metadata.schema.column(place)
        kind, width = _TYPES[chunk.physical_type]
        codec = None if chunk.compression == "UNCOMPRESSED" else pa.Codec(chunk.compression.lower())
        start, left, pages = chunk.data_page_offset, chunk.num_values, []
        while left > 0:
            try:
                header, body = read_struct(self._data[: start + (1 << 16)], start)
                size, whole = header[3], header[2]
            except (IndexError, ValueError, KeyError) as error:
                raise OSError(f"column {column.path!r} has a page header that is no header ({error})") from None
            data, start = self._data[body : body + size], body + size
            if header.get(1) == _DATA and 5 in header and header[5].get(2) == _PLAIN:
                count = header[5][1]
                data = data if codec is None else memoryview(codec.decompress(data, whole))
                # Levels of a column that may hold nulls come first, with their length in four bytes.
                skipped = 4 + int.from_bytes(data[:4], "little") if column.max_definition_level else 0
            elif header.get(1) == _DATA_V2 and 8 in header and header[8].get(4) == _PLAIN:
                inner = header[8]
                count, levels = inner[1], inner.get(5, 0) + inner.get(6, 0)
                if codec is not None and inner.get(7, True):
                    data, skipped = memoryview(codec.decompress(data[levels:], whole - levels)), 0
                else:
                    skipped = levels
            else:
                return None
            if count <= 0 or count > left or len(data) < skipped + count * width:
                raise OSError(f"column {column.path!r} has a page of {count} values in {len(data)} bytes")
            values = pa.py_buffer(data[skipped : skipped + count * width])
            pages.append(pa.Array.from_buffers(pa.type_for_alias(kind), count, [None, values]))
            left -= count
        return pages

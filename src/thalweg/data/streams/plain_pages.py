"""Parquet pages of a local file: which row groups lie there as they are in memory, and which can be decoded here."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import File
from .page_headers import (
    BODY,
    COMPRESSED,
    DATA,
    DATA_V2,
    DICTIONARY,
    ENCODING,
    LEVELS,
    TYPE,
    VALUES,
    page_headers,
)

__all__ = ["PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "Located", "Pages"]

PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY = 0, 2, 8  # Encoding

_TYPES = {"FLOAT": "float32", "DOUBLE": "float64", "INT32": "int32", "INT64": "int64"}
_CODECS = {"UNCOMPRESSED": "", "SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd"}
_ENCODINGS = {"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"}

Integers = NDArray[np.int64]


@dataclass
class Located:
    """Where the pages of a row group are.

    Attributes:
        headers: for every column what the headers of its data pages say (`page_headers`), **(pages, 8)**.
        edges: for every column the first row of each of its pages, and the rows of the group at the end.
        common: the rows at which a page of every column begins, and the rows of the group at the end.
        dictionaries: what the header of each column's dictionary says, **(columns, 8)**; −1 where it has none.
        lying: what `Pages.places` has found, with bytes of the file instead of addresses; kept for the next reader.
    """

    headers: list[Integers]
    edges: list[Integers]
    common: Integers
    dictionaries: Integers
    lying: tuple[Integers, Integers] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether all values are as they are in memory, once they are decompressed."""
        return all((own[:, ENCODING] == PLAIN).all() for own in self.headers)


class Pages:
    """The pages of some columns of a local file, which is mapped.

    Only for 32 or 64-bit floats and signed integers without nulls; Arrow decodes all else.

    Args:
        file: a local file.
        metadata: its ``pyarrow.parquet`` metadata.
        names: the columns wanted.
        located: row group → where its pages are, kept from one reader to the next.

    Attributes:
        data: the bytes of the file, **(size,)**.
        kinds: the types of the columns.
        levels: whether each column's pages begin with levels.

    Source: Apache Parquet format 2.10, *parquet.thrift* (ColumnMetaData) and *Encodings*, section "Plain".
    """

    def __init__(self, file: File, metadata: Any, names: list[str], located: dict[int, Located | None]) -> None:
        with file.open() as opened:
            self.data = np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        self._metadata = metadata
        self.names = names
        self._located = located
        schema = metadata.schema
        places = {schema.column(index).path: index for index in range(len(schema))}
        self._columns = [places.get(name, -1) for name in names]
        fitting = [index for index in self._columns if index >= 0 and _fits(schema.column(index))]
        self.are_numbers = len(fitting) == len(names)
        columns = [schema.column(index) for index in fitting]
        self.kinds = [np.dtype(_TYPES[column.physical_type]) for column in columns]
        self.levels = [column.max_definition_level > 0 for column in columns]

    def way(self, unit: int) -> str:
        """Return how a row group is read: ``"mapped"`` where its values lie in the file as in memory, ``"decoded"``.

        An empty string where neither is promised by the metadata.
        """
        if not self.are_numbers:
            return ""
        group = self._metadata.row_group(unit)
        mapped = True
        for index in self._columns:
            chunk = group.column(index)
            if not _promised(chunk):
                return ""
            mapped = mapped and chunk.compression == "UNCOMPRESSED" and set(chunk.encodings) <= {"PLAIN", "RLE"}
            mapped = mapped and not chunk.has_dictionary_page
        return "mapped" if mapped else "decoded"

    def codec(self, unit: int, column: int) -> str:
        """Return the codec of a column of a row group by pyarrow's name; an empty string for none."""
        return _CODECS[self._metadata.row_group(unit).column(self._columns[column]).compression]

    def locate(self, unit: int) -> Located | None:
        """Return where the pages of a row group are, worked out once.

        None where they are encoded otherwise than `way` promises.

        Raises:
            OSError: a page is damaged.
        """
        if unit not in self._located:
            self._located[unit] = self._locate(unit)
        return self._located[unit]

    def _locate(self, unit: int) -> Located | None:
        group = self._metadata.row_group(unit)
        headers, dictionaries = [], []
        for index, name in zip(self._columns, self.names, strict=True):
            chunk = group.column(index)
            own = chunk.dictionary_page_offset if chunk.has_dictionary_page else None
            start = chunk.data_page_offset if own is None else min(own, chunk.data_page_offset)
            if chunk.num_values != group.num_rows:
                return None
            found = page_headers(self.data, start, chunk.num_values, name)
            has_dictionary = found[0, TYPE] == DICTIONARY
            first = found[0] if has_dictionary else np.full(8, -1, np.int64)
            pages = found[1:] if has_dictionary else found
            if not _is_known(pages, first):
                return None
            headers.append(pages)
            dictionaries.append(first)
        edges = [np.concatenate([[0], np.cumsum(own[:, VALUES])]) for own in headers]
        return Located(headers, edges, reduce(_common, edges), np.stack(dictionaries))

    def places(self, unit: int) -> tuple[Integers, Integers] | None:
        """Return rows of a mapped row group from which on no page ends, and where in memory its columns go on there.

        **(k,)** and **(k, columns)**; None where the values do not lie there.

        Raises:
            OSError: a page is damaged.
        """
        located = self.locate(unit)
        if located is None or not located.is_plain:
            return None
        if located.lying is None:
            located.lying = self._lying(located)
        starts, places = located.lying
        return starts, places + self.data.__array_interface__["data"][0]

    def _lying(self, located: Located) -> tuple[Integers, Integers]:
        starts = reduce(_all_edges, located.edges)[:-1]
        places = np.empty((len(starts), len(self.names)), np.int64)
        for column, (headers, edges) in enumerate(zip(located.headers, located.edges, strict=True)):
            skipped = headers[:, LEVELS].copy()
            if self.levels[column]:  # of version 1: their length in four bytes, and they
                ones = np.flatnonzero(headers[:, TYPE] == DATA)
                at = headers[ones, BODY]
                if (at + 4 > len(self.data)).any():
                    raise self.damaged(column, "ends with the file")
                lengths = np.ascontiguousarray(self.data[at[:, None] + np.arange(4)]).view("<u4")[:, 0]
                skipped[ones] = 4 + lengths.astype(np.int64)
            size = self.kinds[column].itemsize
            if (headers[:, COMPRESSED] < skipped + headers[:, VALUES] * size).any():
                raise self.damaged(column, "has fewer bytes than its values need")
            page = np.searchsorted(edges, starts, side="right") - 1
            places[:, column] = (headers[:, BODY] + skipped)[page] + (starts - edges[page]) * size
        return starts, places

    def damaged(self, column: int, what: str) -> OSError:
        """Return the error for a damaged page."""
        return OSError(f"a page of column {self.names[column]!r} {what}")


def _common(one: Integers, other: Integers) -> Integers:
    return one if np.array_equal(one, other) else np.intersect1d(one, other)


def _all_edges(one: Integers, other: Integers) -> Integers:
    return one if np.array_equal(one, other) else np.union1d(one, other)


def _fits(column: Any) -> bool:
    return bool(
        column.physical_type in _TYPES
        and str(column.logical_type.type) == "NONE"
        and column.max_repetition_level == 0
        and column.max_definition_level <= 1
    )


def _promised(chunk: Any) -> bool:
    """Return whether the metadata promise numbers without nulls in encodings that are known here."""
    return bool(
        chunk.compression in _CODECS
        and set(chunk.encodings) <= _ENCODINGS
        and chunk.is_stats_set
        and chunk.statistics.has_null_count
        and chunk.statistics.null_count == 0
    )


def _is_known(pages: Integers, dictionary: Integers) -> bool:
    """Return whether all pages are data pages of numbers, or of places in a plainly encoded dictionary."""
    has_dictionary = dictionary[TYPE] == DICTIONARY
    known = {PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY} if has_dictionary else {PLAIN}
    kinds, encodings = set(pages[:, TYPE].tolist()), set(pages[:, ENCODING].tolist())
    plain = not has_dictionary or dictionary[ENCODING] in (PLAIN, PLAIN_DICTIONARY)
    return bool(plain and kinds <= {DATA, DATA_V2} and encodings <= known)

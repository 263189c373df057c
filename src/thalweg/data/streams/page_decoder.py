"""Pages of a Parquet row group as columns of numbers: decompressed by Arrow's codecs, without Arrow's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .kernels import KERNELS
from .page_headers import BODY, COMPRESSED, DATA, ENCODING, IS_COMPRESSED, LEVELS, SIZE, TYPE, VALUES
from .plain_pages import PLAIN, Located, Pages

__all__ = ["DecodedGroup"]

Bytes = NDArray[np.uint8]


class DecodedGroup:
    """A row group that is decoded one row of pages at a time: the pages of all columns between two common edges.

    Threads may decode different pages at the same time: decompression and the kernels let go of Python's lock.

    Args:
        pages: of the file.
        unit: the row group.
        located: where its pages are.
        width: columns of x.

    Raises:
        OSError: a dictionary is damaged.

    Source: Apache Parquet format 2.10, *Encodings*, sections "Plain" and "Dictionary Encoding", *Compression*.
    """

    def __init__(self, pages: Pages, unit: int, located: Located, width: int) -> None:
        import pyarrow as pa

        self._pages, self._located, self._width = pages, located, width
        names = [pages.codec(unit, column) for column in range(len(pages.names))]
        self._codecs = [pa.Codec(name) if name else None for name in names]
        self._dictionaries = [
            self._values(column, self._bytes(column, header), int(header[VALUES])) if header[TYPE] >= 0 else None
            for column, header in enumerate(located.dictionaries)
        ]

    @property
    def edges(self) -> list[int]:
        """The first row within the group of every row of pages, and its rows at the end."""
        edges: list[int] = self._located.common.tolist()
        return edges

    def columns(self, number: int) -> Columns:
        """Return the columns of a row of pages.

        Raises:
            OSError: a page is damaged.
        """
        return Columns([self._between(column, number) for column in range(len(self._codecs))], self._width)

    def _between(self, column: int, number: int) -> NDArray[Any]:
        first, last = np.searchsorted(self._located.edges[column], self._located.common[number : number + 2])
        pages = [self._column(column, header) for header in self._located.headers[column][first:last]]
        return pages[0] if len(pages) == 1 else np.concatenate(pages)

    def _column(self, column: int, header: NDArray[np.int64]) -> NDArray[Any]:
        count = int(header[VALUES])
        data = self._bytes(column, header)
        if header[TYPE] == DATA and self._pages.levels[column]:
            data = data[4 + int.from_bytes(data[:4], "little") :]
        if header[ENCODING] == PLAIN:
            return self._values(column, data, count)
        dictionary, out = self._dictionaries[column], np.empty(count, self._pages.kinds[column])
        assert dictionary is not None, "places in a dictionary are known only where there is one"
        assert KERNELS.unpack_dictionary is not None, "without it Arrow decodes such pages"
        if not KERNELS.unpack_dictionary(data, dictionary, out):
            raise self._pages.damaged(column, "stands for values that its dictionary does not have")
        return out

    def _values(self, column: int, data: Bytes, count: int) -> NDArray[Any]:
        kind = self._pages.kinds[column]
        if len(data) < count * kind.itemsize:
            raise self._pages.damaged(column, f"has {len(data)} bytes for {count} values")
        return np.frombuffer(data.data, kind, count)

    def _bytes(self, column: int, header: NDArray[np.int64]) -> Bytes:
        """Return the bytes of a page, decompressed, without the levels of version 2."""
        _, _, body, size, whole, _, levels, compressed = header.tolist()
        data = self._pages.data[body + levels : body + size]
        codec = self._codecs[column]
        if codec is None or not compressed:
            return data
        if not whole - levels:
            return data[:0]
        return np.frombuffer(codec.decompress(data, whole - levels), np.uint8)


assert (BODY, COMPRESSED, SIZE, LEVELS, IS_COMPRESSED) == (2, 3, 4, 6, 7), "the order in which a header is taken apart"

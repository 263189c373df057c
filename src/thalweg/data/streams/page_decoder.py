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


class DecodedGroup:
    """A row group that is decoded one row of pages at a time: the pages of all columns between two common edges.

    Threads may decode different pages at the same time: decompression and the kernels let go of Python's lock.

    Args:
        pages: of the file.
        unit: the row group.
        located: where its pages are.
        width: columns of x.

    Attributes:
        edges: the first row within the group of every row of pages, and its rows at the end.

    Raises:
        OSError: a dictionary is damaged.

    Source: Apache Parquet format 2.10, *Encodings*, sections "Plain" and "Dictionary Encoding", *Compression*.
    """

    def __init__(self, pages: Pages, unit: int, located: Located, width: int) -> None:
        import pyarrow as pa

        self._pages, self._width = pages, width
        self._memory = pages.data.data
        names = [pages.codec(unit, column) for column in range(len(pages.names))]
        self._codecs = [pa.Codec(name) if name else None for name in names]
        self.edges: list[int] = located.common.tolist()
        # Python's own numbers: a row of pages takes some thousand of them.
        self._headers = [own.tolist() for own in located.headers]
        self._bounds = [np.searchsorted(own, located.common).tolist() for own in located.edges]
        self._dictionaries = [
            self._values(column, self._bytes(column, header), 0, header[VALUES]) if header[TYPE] >= 0 else None
            for column, header in enumerate(located.dictionaries.tolist())
        ]

    def columns(self, number: int) -> Columns:
        """Return the columns of a row of pages.

        Raises:
            OSError: a page is damaged.
        """
        return Columns([self._between(column, number) for column in range(len(self._codecs))], self._width)

    def _between(self, column: int, number: int) -> NDArray[Any]:
        first, last = self._bounds[column][number : number + 2]
        pages = [self._column(column, header) for header in self._headers[column][first:last]]
        return pages[0] if len(pages) == 1 else np.concatenate(pages)

    def _column(self, column: int, header: list[int]) -> NDArray[Any]:
        count = header[VALUES]
        data, skipped = self._bytes(column, header), 0
        if header[TYPE] == DATA and self._pages.levels[column]:
            skipped = 4 + int.from_bytes(data[:4], "little")
        if header[ENCODING] == PLAIN:
            return self._values(column, data, skipped, count)
        dictionary, out = self._dictionaries[column], np.empty(count, self._pages.kinds[column])
        assert dictionary is not None, "places in a dictionary are known only where there is one"
        assert KERNELS.unpack_dictionary is not None, "without it Arrow decodes such pages"
        if not KERNELS.unpack_dictionary(np.frombuffer(data[skipped:], np.uint8), dictionary, out):
            raise self._pages.damaged(column, "stands for values that its dictionary does not have")
        return out

    def _values(self, column: int, data: memoryview, skipped: int, count: int) -> NDArray[Any]:
        kind = self._pages.kinds[column]
        if len(data) < skipped + count * kind.itemsize:
            raise self._pages.damaged(column, f"has {len(data) - skipped} bytes for {count} values")
        return np.frombuffer(data, kind, count, skipped)

    def _bytes(self, column: int, header: list[int]) -> memoryview:
        """Return the bytes of a page, decompressed, without the levels of version 2."""
        _, _, body, size, whole, _, levels, compressed = header
        data = self._memory[body + levels : body + size]
        codec = self._codecs[column]
        if codec is None or not compressed:
            return data
        return memoryview(codec.decompress(data, whole - levels)) if whole > levels else data[:0]


assert (BODY, COMPRESSED, SIZE, LEVELS, IS_COMPRESSED) == (2, 3, 4, 6, 7), "the order in which a header is taken apart"

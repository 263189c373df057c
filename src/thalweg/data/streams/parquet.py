"""Parquet files, row group after row group: pages where they lie, pages decoded here, or Arrow's dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrow_part import ArrowPart, damaged
from .columns import Chosen, Columns
from .decoding import DecodedRows
from .files import File
from .gathering import GatheringReader
from .kernels import KERNELS
from .page_decoder import DecodedGroup
from .plain_pages import Located, Pages
from .rows import Rows, cut
from .table import PartReader

__all__ = ["ParquetPart", "parquet_schema"]

_ROWS_AT_ONCE = 1 << 16
_NUMBERS = ("float", "double", "int32", "int64")  # Arrow's types; a duration is stored as int64 too, and is not one


@lru_cache(maxsize=8)  # the footer is asked for again when the schema is known
def _dataset(file: File) -> Any:
    """Return the file as a dataset; folders named ``key=value`` below the given root become columns."""
    import pyarrow as pa
    import pyarrow.dataset as dataset

    path = file.inner if file.system is not None else file.path
    try:
        return dataset.dataset(
            [path],
            filesystem=file.system,
            format="parquet",
            partitioning="hive" if file.root else None,
            partition_base_dir=file.root or None,
        )
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, "", error) from None


def parquet_schema(file: File) -> Any:
    """Return the Arrow schema of a file, the columns in its folders' names included."""
    return _dataset(file).schema


def _unpacks() -> bool:
    """Return whether places in a dictionary can be unpacked here: the kernel is there and compiles."""
    run, one = KERNELS.unpack_dictionary, np.zeros(1, np.float32)
    return run is not None and run(np.zeros(3, np.uint8), one, one) is not None


@dataclass
class _Opened:
    """A file that is read: its pages, where they are of a kind that needs no Arrow, and Arrow's view of it."""

    file: File
    pages: Pages | None

    @cached_property
    def fragment(self) -> Any:
        (found,) = _dataset(self.file).get_fragments()
        return found


class ParquetPart(ArrowPart):
    """One Parquet file; what the condition leaves of each row group is counted once, from its columns alone."""

    unit_name = "row group"

    def __init__(self, file: File, chosen: Chosen, condition: Any) -> None:
        import pyarrow as pa

        super().__init__(file, chosen, condition)
        self._located: dict[int, Located | None] = {}
        self._metadata: Any = None
        self.schema = parquet_schema(file)
        try:
            opened = _Opened(file, None)
            sizes = [group.num_rows for group in opened.fragment.row_groups]
            if condition is not None:
                sizes = [self._scanner(opened.fragment, unit, []).count_rows() for unit in range(len(sizes))]
            elif file.is_local and all(str(self.schema.field(name).type) in _NUMBERS for name in chosen.names):
                self._metadata = opened.fragment.metadata
        except (pa.ArrowException, OSError) as error:
            raise damaged(file, "", error) from None
        self.count(sizes)
        pages = self.opened().pages
        self.ways = ["" if pages is None else pages.way(unit) for unit in range(len(sizes))]
        if self.n and pages is not None and set(self.ways) == {"mapped"}:
            self.seekable(pages.kinds[0] if len(set(pages.kinds)) == 1 else None)

    def open(self) -> PartReader:
        return ParquetReader(self)

    def opened(self) -> _Opened:
        if self._metadata is None:
            return _Opened(self.file, None)
        return _Opened(self.file, Pages(self.file, self._metadata, self.chosen.names, self._located))

    def batches(self, unit: int, opened: _Opened) -> Iterator[Any]:
        yield from self._scanner(opened.fragment, unit, self.chosen.names).to_batches()

    def places(self, unit: int, opened: _Opened) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        return None if opened.pages is None else opened.pages.places(unit)

    def views(self, unit: int, opened: _Opened) -> tuple[NDArray[np.int64], list[Columns]] | None:
        found = self.places(unit, opened)
        if found is None:
            return None
        assert opened.pages is not None, "it has found the places"
        data, kinds = opened.pages.data, opened.pages.kinds
        starts, places = found
        counts = np.diff(np.append(starts, self.bounds[unit + 1] - self.bounds[unit])).tolist()
        base = data.__array_interface__["data"][0]
        pieces = [
            [np.frombuffer(data, kind, count, at - base) for kind, at in zip(kinds, row, strict=True)]
            for count, row in zip(counts, places.tolist(), strict=True)
        ]
        return starts, [Columns(piece, len(self.chosen.features)) for piece in pieces]

    def group(self, unit: int, opened: _Opened) -> DecodedGroup | None:
        """Return a row group whose pages are decoded here; None where Arrow decodes it."""
        if opened.pages is None or not self.ways[unit]:
            return None
        located = opened.pages.locate(unit)
        if located is None or not (located.is_plain or _unpacks()):
            return None
        return DecodedGroup(opened.pages, unit, located, len(self.chosen.features))

    def _scanner(self, fragment: Any, unit: int, names: list[str]) -> Any:
        import pyarrow.dataset as dataset

        return dataset.Scanner.from_fragment(
            fragment.subset(row_group_ids=[unit]),
            schema=self.schema,
            columns=names,
            filter=self.condition,
            batch_size=_ROWS_AT_ONCE,
            batch_readahead=1,
            fragment_readahead=1,
        )


class ParquetReader(GatheringReader):
    """Reads rows of pages where they lie, or where they can be decoded here; leaves the rest to Arrow."""

    _part: ParquetPart

    def __init__(self, part: ParquetPart) -> None:
        super().__init__(part)
        self._decoded: DecodedRows | None = None

    def _read(self, start: int, stop: int, into: Rows) -> bool:
        if self._part.is_seekable or not any(self._part.ways):
            return super()._read(start, stop, into)
        if self._decoded is None:
            row_bytes = sum(kind.itemsize for kind in self._opened.pages.kinds)
            self._decoded = DecodedRows(self._part.bounds, self._group, row_bytes)
        done, finite = 0, True
        while start + done < stop:
            self._other = unit = int(np.searchsorted(self._part.bounds, start + done, side="right")) - 1
            count, known = self._decoded.read(start + done, stop, cut(into, done, stop - start))
            if not count:
                past = min(stop, int(self._part.bounds[unit + 1]))
                count, known = past - start - done, False
                self._other = None
                super()._read(start + done, past, cut(into, done, done + count))
            done, finite = done + count, finite and known
        return finite

    def _group(self, unit: int) -> DecodedGroup | None:
        return self._part.group(unit, self._opened)

    def close(self) -> None:
        if self._decoded is not None:
            self._decoded.close()
        super().close()

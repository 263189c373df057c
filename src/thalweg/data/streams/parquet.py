"""Parquet files, row group after row group, through Arrow's dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrow_part import ArrowPart, damaged
from .columns import Chosen, Columns
from .files import File
from .gathering import GatheringReader
from .plain_pages import Located, PlainPages
from .table import PartReader

__all__ = ["ParquetPart", "parquet_schema"]

_ROWS_AT_ONCE = 1 << 16


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


@dataclass(frozen=True)
class _Opened:
    """A file that is read: by Arrow, and, where its pages are plain and no row is left out, without a decoder."""

    fragment: Any
    pages: PlainPages | None


class ParquetPart(ArrowPart):
    """One Parquet file; what the condition leaves of each row group is counted once, from its columns alone."""

    unit_name = "row group"

    def __init__(self, file: File, chosen: Chosen, condition: Any) -> None:
        import pyarrow as pa

        super().__init__(file, chosen, condition)
        self._located: dict[int, Located | None] = {}
        self.schema = parquet_schema(file)
        try:
            opened = self.opened()
            fragment = opened.fragment
            sizes = [group.num_rows for group in fragment.row_groups]
            if condition is not None:
                sizes = [self._scanner(fragment, unit, []).count_rows() for unit in range(len(sizes))]
        except (pa.ArrowException, OSError) as error:
            raise damaged(file, "", error) from None
        self.count(sizes)
        pages = opened.pages
        units = range(len(sizes))
        self.plain = [pages is not None and pages.is_plain(unit) for unit in units]
        if pages is not None and self.n and all(self.plain) and all(map(pages.is_uncompressed, units)):
            self.seekable()

    def open(self) -> PartReader:
        return GatheringReader(self)

    def opened(self) -> _Opened:
        (fragment,) = _dataset(self.file).get_fragments()
        plain = self.file.is_local and self.condition is None
        if not plain:
            return _Opened(fragment, None)
        return _Opened(fragment, PlainPages(self.file, fragment.metadata, self.chosen.names, self._located))

    def batches(self, unit: int, opened: _Opened) -> Iterator[Any]:
        if opened.pages is not None and self.plain[unit]:
            table = opened.pages.group(unit)
            if table is not None:
                yield from table.to_batches()
                return
        yield from self._scanner(opened.fragment, unit, self.chosen.names).to_batches()

    def views(self, unit: int, opened: _Opened) -> tuple[NDArray[np.int64], list[Columns]] | None:
        found = None if opened.pages is None else opened.pages.views(unit)
        if found is None:
            return None
        return found[0], [Columns(piece, len(self.chosen.features)) for piece in found[1]]

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

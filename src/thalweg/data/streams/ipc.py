"""Arrow IPC files and streams (Feather too), record batch after record batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .arrow_part import ArrowPart, damaged
from .columns import Chosen
from .files import WHO, File
from .gathering import GatheringReader
from .table import PartReader

__all__ = ["IpcPart", "ipc_schema"]

_MAGIC = b"ARROW1"


class _Batches:
    """The record batches of a file, by number; of a local one they are views of the mapped file."""

    def __init__(self, file: File) -> None:
        import pyarrow as pa

        with file.open() as opened:
            is_file = opened.read(len(_MAGIC)) == _MAGIC
        if not is_file and not file.is_local:
            raise ValueError(
                f"{WHO}: {file.path} is an Arrow stream, which has no index of its batches and is not local; write it "
                "in the IPC file format."
            )
        source = pa.memory_map(file.path) if file.is_local else pa.PythonFile(file.open(), mode="r")
        if is_file:
            self._reader = pa.ipc.open_file(source)
            self.schema, self.count = self._reader.schema, self._reader.num_record_batches
            self._all = None
        else:
            stream = pa.ipc.open_stream(source)
            self.schema, self._all = stream.schema, list(stream)
            self.count = len(self._all)

    def __getitem__(self, number: int) -> Any:
        return self._reader.get_batch(number) if self._all is None else self._all[number]


def _opened(file: File) -> _Batches:
    import pyarrow as pa

    try:
        return _Batches(file)
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, "", error) from None


def ipc_schema(file: File) -> Any:
    """Return the Arrow schema of a file."""
    return _opened(file).schema


class IpcPart(ArrowPart):
    """One IPC file."""

    unit_name = "record batch"

    def __init__(self, file: File, chosen: Chosen, condition: Any) -> None:
        import pyarrow as pa

        super().__init__(file, chosen, condition)
        opened = self.opened()
        number = 0
        try:
            if condition is None:
                sizes = []
                for number in range(opened.count):
                    sizes.append(opened[number].num_rows)
            else:
                sizes = self.sizes_by_reading(opened.count)
        except (pa.ArrowException, OSError) as error:
            raise damaged(file, f", record batch {number} of {opened.count}", error) from None
        self.count(sizes)
        # Columns of plain numbers in an uncompressed local file: NumPy looks at them where they lie.
        if file.is_local and condition is None and opened.count:
            sample = _sample(opened, chosen)
            if all(map(_lies_there, sample)):
                kinds = {np.dtype(column.type.to_pandas_dtype()) for column in sample}
                self.seekable(kinds.pop() if len(kinds) == 1 else None)

    def open(self) -> PartReader:
        return GatheringReader(self)

    def opened(self) -> _Batches:
        return _opened(self.file)

    def batches(self, unit: int, opened: Any) -> Iterator[Any]:
        import pyarrow as pa

        batch = opened[unit]
        if self.condition is not None:
            for some in pa.Table.from_batches([batch]).filter(self.condition).to_batches():
                yield some.select(self.chosen.names)
        else:
            yield batch.select(self.chosen.names)


def _sample(opened: _Batches, chosen: Chosen) -> list[Any]:
    """Return the chosen columns of the first record batch."""
    columns: list[Any] = opened[0].select(chosen.names).columns
    return columns


def _lies_there(column: Any) -> bool:
    """Return whether the values are plain numbers in memory that Arrow has not allocated: the mapped file."""
    import pyarrow as pa

    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)) or column.null_count:
        return False
    return column.buffers()[1].parent is not None or not column.buffers()[1].is_mutable

"""``.npy`` files: mapped into memory where they are local, read by position where they are not."""

from __future__ import annotations

import math
import mmap
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from .files import WHO, File
from .rows import Rows, cut, is_finite
from .table import Part, PartReader, Tile

__all__ = ["Npy", "NpyPart", "read_header"]

# What NumPy's reading of a header raises, which is a Python dictionary as text.
_DAMAGED = (ValueError, OSError, SyntaxError, tokenize.TokenError, KeyError, TypeError, OverflowError, RecursionError)

Array = NDArray[Any]
Columns = slice | list[int]

_PICKED_BYTES = 256 << 10


@dataclass(frozen=True)
class Npy:
    """One ``.npy`` file and what its header says.

    Attributes:
        file: the file.
        shape: of the array, **(n, …)**.
        dtype: of its values.
        offset: the byte at which they begin.
    """

    file: File
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    @property
    def width(self) -> int:
        """Values per row."""
        return math.prod(self.shape[1:])


def read_header(file: File) -> Npy:
    """Return what the header of a ``.npy`` file says, checked against the file's size.

    Raises:
        ValueError: it is no ``.npy`` file, is truncated, has no rows, lies in Fortran order or holds no numbers.
    """
    with file.open() as opened:
        try:
            version = npy_format.read_magic(opened)
            if version == (1, 0):
                shape, fortran, dtype = npy_format.read_array_header_1_0(opened)
            else:
                shape, fortran, dtype = npy_format.read_array_header_2_0(opened)
        except _DAMAGED as error:
            raise ValueError(
                f"{WHO}: {file.path} ({file.size} bytes) has no whole .npy header: {str(error).rstrip('.')}; check how "
                "it was written, or copy it again."
            ) from None
        offset = opened.tell()
    if dtype.kind not in "fiub":
        raise TypeError(
            f"{WHO}: {file.path} holds {dtype}, not numbers; save floats, integers or bools (np.save(path, a.astype("
            "np.float32)))."
        )
    if not shape or not math.prod(shape):
        raise ValueError(f"{WHO}: {file.path} has the shape {shape}, so that it has no rows to read; leave it out.")
    if fortran and len(shape) > 1:
        raise ValueError(
            f"{WHO}: {file.path} lies in Fortran order, column after column, so that a row is spread over the whole "
            "file; save it again with np.save(path, np.ascontiguousarray(array))."
        )
    promised = math.prod(shape) * dtype.itemsize
    if file.size - offset < promised:
        whole = (file.size - offset) * shape[0] // promised
        raise ValueError(
            f"{WHO}: {file.path} is truncated: its header promises {shape[0]} rows ({offset + promised} bytes), the "
            f"file ends after {whole} ({file.size} bytes); write or copy it again."
        )
    return Npy(file, shape, dtype, offset)


class NpyPart(Part):
    """Rows of ``.npy`` files that belong together: features, and a target and weights in columns or files of their own.

    Args:
        x: the file of the features.
        columns: which of its columns are features.
        y: the file of the target (perhaps the same) and its columns; an int is one number per row; None for none.
        w: the same for the weight.
    """

    units = None

    def __init__(
        self,
        x: Npy,
        columns: Columns,
        y: tuple[Npy, Columns | int] | None,
        w: tuple[Npy, int] | None,
    ) -> None:
        self.x, self.columns, self.y, self.w = x, columns, y, w
        self.name = x.file.path
        self.n = x.shape[0]
        files = {part.file.path: part.file for part in (x, *(pair[0] for pair in (y, w) if pair is not None))}
        self.is_mapped = self.is_seekable = all(file.is_local for file in files.values())
        self.block_bytes = 24 << 10 if self.is_mapped else 1 << 20  # 32 of the small ones fit into a core's cache
        self.identity = " ".join(file.identity for file in files.values())

    def open(self) -> PartReader:
        return NpyReader(self)


class NpyReader(PartReader):
    """Reads and gathers rows; each file is opened once, also where it holds features and target together."""

    def __init__(self, part: NpyPart) -> None:
        self._matrices: dict[str, _Mapped | _Positioned] = {}
        self._places = [
            None if place is None else (self._matrix(place[0]), place[1])
            for place in ((part.x, part.columns), part.y, part.w)
        ]
        self.is_weighted = part.w is not None
        # Views of the mapped columns: most reads are then one slice and one copy for each of x, y and w.
        self._views = [
            matrix.array[:, columns] if isinstance(matrix, _Mapped) and not isinstance(columns, list) else None
            for matrix, columns in (place for place in self._places if place is not None)
        ]

    def _matrix(self, npy: Npy) -> _Mapped | _Positioned:
        path = npy.file.path
        if path not in self._matrices:
            self._matrices[path] = _Mapped(npy) if npy.file.is_local else _Positioned(npy)
        return self._matrices[path]

    def _fill(self, into: Rows, raw: dict[int, Array]) -> None:
        for place, target in zip(self._places, into, strict=True):
            if place is not None and target is not None:
                values = raw[id(place[0])]
                if values is not target:
                    target[...] = values[:, place[1]]

    def read(self, start: int, stop: int, into: Rows) -> bool:
        return self.read_blocks([(start, stop)], into)

    def read_blocks(self, blocks: Sequence[tuple[int, int]], into: Rows) -> bool:
        targets = [target for target in into if target is not None]
        views = [view for view in self._views if view is not None]
        done = 0
        if len(views) == len(targets):
            for start, stop in blocks:
                past = done + stop - start
                for view, target in zip(views, targets, strict=True):
                    target[done:past] = view[start:stop]
                done = past
            return False
        for start, stop in blocks:
            past = done + stop - start
            raw = {id(matrix): matrix.rows(start, stop) for matrix in self._matrices.values()}
            self._fill(cut(into, done, past), raw)
            done = past
        return False

    def views(self, start: int, stop: int, like: Rows) -> Rows | None:
        """Return the rows without a copy; None where they must be converted."""
        wanted = [target for target in like if target is not None]
        views = [view[start:stop] for view in self._views if view is not None]
        if [view.dtype for view in views] != [target.dtype for target in wanted]:
            return None
        found = iter(views)
        parts: list[Any] = [None if target is None else next(found) for target in like]
        return Rows(*parts)

    def will_need(self, blocks: Sequence[tuple[int, int]]) -> None:
        for matrix in self._matrices.values():
            if isinstance(matrix, _Mapped):
                matrix.will_need(blocks)

    def tile(self, rows: int) -> Tile | None:
        single = len(self._matrices) == 1
        matrix = next(iter(self._matrices.values()))
        return NpyTile(self, matrix, rows) if single and isinstance(matrix, _Mapped) else None

    def gather(self, rows: NDArray[np.int64], into: Rows) -> bool:
        raw: dict[int, Array] = {}
        for matrix in self._matrices.values():
            assert isinstance(matrix, _Mapped), "single rows are asked of local files only"
            raw[id(matrix)] = matrix.take(rows, self._straight(matrix, into))
        self._fill(into, raw)
        return False

    def _straight(self, matrix: Any, into: Rows) -> Array | None:
        """Return the array of *into* that takes the rows of *matrix* whole and unconverted, if there is one."""
        users = [place for place in self._places if place is not None and place[0] is matrix]
        whole = len(users) == 1 and users[0] is self._places[0] and users[0][1] == slice(None)
        return into.x if whole and into.x.dtype == matrix.dtype and into.x.flags.c_contiguous else None

    def split(self, values: Array, into: Rows) -> None:
        """Copy whole rows of the only file to *into*."""
        for place, target in zip(self._places, into, strict=True):
            if place is not None and target is not None:
                target[...] = values[:, place[1]]

    def close(self) -> None:
        self._views.clear()
        for matrix in self._matrices.values():
            matrix.close()
        self._matrices.clear()


class NpyTile(Tile):
    """Blocks of one mapped file as they lie there; columns are parted only when rows are taken, out of the cache."""

    def __init__(self, reader: NpyReader, matrix: _Mapped, rows: int) -> None:
        self._from = reader
        self._source = matrix.array
        width = matrix.array.shape[1]
        self._laid = np.empty((rows, width), matrix.dtype)
        self._picked = np.empty((max(1, _PICKED_BYTES // (width * matrix.dtype.itemsize)), width), matrix.dtype)

    def load(self, blocks: Sequence[tuple[int, int]]) -> None:
        self._lay(blocks)
        # Once per window and in the cache, all columns at once; a weight's sign is looked at with its batch.
        count = sum(stop - start for start, stop in blocks)
        self.is_finite = not self._from.is_weighted and is_finite(self._laid[:count])

    def _lay(self, blocks: Sequence[tuple[int, int]]) -> None:
        size = blocks[0][1] - blocks[0][0]
        if all(start % size == 0 and stop - start == size for start, stop in blocks):
            width = self._source.shape[1]
            count = len(self._source) // size
            whole = self._source[: count * size].reshape(count, size * width)
            laid = self._laid[: len(blocks) * size].reshape(len(blocks), size * width)
            np.take(whole, [start // size for start, _ in blocks], axis=0, out=laid, mode="clip")
            return
        done = 0
        for start, stop in blocks:
            self._laid[done : done + stop - start] = self._source[start:stop]
            done += stop - start

    def take(self, index: NDArray[np.int64], into: Rows) -> None:
        step = len(self._picked)
        for start in range(0, len(index), step):
            some = index[start : start + step]
            picked = self._picked[: len(some)]
            np.take(self._laid, some, axis=0, out=picked, mode="clip")
            self._from.split(picked, cut(into, start, start + len(some)))


class _Mapped:
    """The values of a local file as an array over its pages; nothing is read before it is touched.

    The mapping is private: whoever writes into a view of it changes memory of the process, never the file.
    """

    def __init__(self, npy: Npy) -> None:
        with npy.file.open() as opened:
            self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        count = math.prod(npy.shape)
        if len(self._map) < npy.offset + count * npy.dtype.itemsize:
            raise ValueError(
                f"{WHO}: {npy.file.path} has shrunk to {len(self._map)} bytes since the stream was made; make the "
                "stream again from a whole file."
            )
        values = np.frombuffer(self._map, npy.dtype, count, npy.offset)
        self.array = values.reshape(npy.shape[0], npy.width)
        self.dtype = npy.dtype
        self._offset, self._row_bytes = npy.offset, npy.width * npy.dtype.itemsize
        self._scratch = np.empty((0, npy.width), npy.dtype)

    def rows(self, start: int, stop: int) -> Array:
        return self.array[start:stop]

    def will_need(self, blocks: Sequence[tuple[int, int]]) -> None:
        advice = getattr(mmap, "MADV_WILLNEED", None)
        if advice is None:
            return
        size, page = self._row_bytes, mmap.PAGESIZE
        for start, stop in blocks:
            first = (self._offset + start * size) // page * page
            self._map.madvise(advice, first, self._offset + stop * size - first)

    def take(self, rows: NDArray[np.int64], into: Array | None) -> Array:
        if into is None:
            if len(self._scratch) < len(rows):
                self._scratch = np.empty((len(rows), self.array.shape[1]), self.dtype)
            into = self._scratch[: len(rows)]
        result: Array = np.take(self.array, rows, axis=0, out=into, mode="clip")
        return result

    def close(self) -> None:
        del self.array  # the map itself goes with its last view


class _Positioned:
    """The values of a remote file, read by position into one buffer."""

    def __init__(self, npy: Npy) -> None:
        self._npy = npy
        self._opened = npy.file.open()
        self.dtype = npy.dtype
        self._scratch = np.empty((0, npy.width), npy.dtype)

    def rows(self, start: int, stop: int) -> Array:
        count = stop - start
        if len(self._scratch) < count:
            self._scratch = np.empty((count, self._npy.width), self.dtype)
        values = self._scratch[:count]
        wanted = values.data.cast("B")
        self._opened.seek(self._npy.offset + start * self._npy.width * self.dtype.itemsize)
        done = 0
        while done < len(wanted):
            got = self._opened.readinto(wanted[done:])
            if not got:
                raise ValueError(
                    f"{WHO}: {self._npy.file.path} ended while row {start} … {stop - 1} was read, although its header "
                    f"promises {self._npy.shape[0]} rows; it has changed since the stream was made."
                )
            done += got
        return values

    def close(self) -> None:
        self._opened.close()

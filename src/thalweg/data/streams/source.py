"""Batches of files on disk that a run can leave after any batch and take up again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..base import Source
from ..batch import Batch, to_device
from ..settings import check_settings, check_start, check_state, count_steps
from .ahead import Ahead
from .buffers import Buffers
from .feed import Span, check_rows, feed, lend
from .order import Order, Shuffle
from .ranks import share_of
from .read_ahead import read_ahead
from .rows import Array, Rows, cut, tensors
from .table import RowTable, TableReader

__all__ = ["StreamSource"]

WHO = "data.stream"
GATHER_BYTES = 384 << 10  # batches are made several at once, up to so many bytes
BLOCKS = 32  # per window, where that many fit
PASS_BYTES = 16 << 20  # of one block of `StreamSource.blocks`, enough for threads to share
_ALIVE = 4  # gathers made or in use at a time


class StreamSource(Source):
    """Batches of a `RowTable`, read ahead on a thread; made by `thalweg.data.stream`.

    The order of an epoch is a function of (seed, epoch): position p of epoch e is always the same row. Batch b is the
    positions bB … (b+1)B − 1 of all ranks together; rank r of W takes every W-th of them, from the r-th on. A run is
    therefore taken up after any batch from (seed, epoch, position) alone, also with another number of ranks or
    workers: the rows that remain are the same, none lost, none twice. With ranks, the last batch of an epoch may hold
    no row for some of them: an empty batch keeps them in step.

    Attributes:
        n: rows.
        batch_size: rows per batch, of all ranks together.
        steps_per_epoch: batches per epoch.
        feature_names: the D columns of x.
        fingerprint: 32 hexadecimal digits that stand for the files, the columns, the filter and the types.
        epoch: the epoch of the last batch given out.
        batch: how many of its batches were given out.
    """

    n: int
    batch_size: int
    steps_per_epoch: int
    device: torch.device

    def __init__(
        self,
        table: RowTable,
        *,
        batch_size: int = 4096,
        shuffle: Shuffle = "block",
        drop_last: bool = False,
        seed: int = 0,
        memory: int = 512 << 20,
        device: torch.device | str = "cpu",
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        check_settings(WHO, batch_size, seed)
        self.table = table
        self.n = table.n
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.memory = memory
        self.device = torch.device(device)
        self.rank, self.world_size = share_of(rank, world_size, batch_size)
        self.steps_per_epoch = count_steps(self.n, batch_size, drop_last)
        self.feature_names = table.layout.features
        self.fingerprint = table.fingerprint
        self.epoch = 0
        self.batch = 0
        self._lender: TableReader | None = None  # whose mapped rows are lent at present
        row_bytes = table.layout.row_bytes
        self._together = max(1, min(GATHER_BYTES, memory // 16) // (row_bytes * batch_size))
        self._order, self._block_rows = self._ordered(row_bytes)

    def _ordered(self, row_bytes: int) -> tuple[Order, int]:
        """Return the order, and the rows per block; both must not fill more than an eighth of the memory."""
        window_bytes = min(BLOCKS * self.table.block_bytes, self.memory // 8)
        block_rows = max(1, window_bytes // BLOCKS // row_bytes)
        bounds = self.table.bounds(block_rows)
        sizes = np.diff(bounds)
        window = max(1, int(window_bytes // (row_bytes * sizes.mean())))
        if self.shuffle == "full" and not self.table.is_seekable:
            name = next(part.name for part in self.table.parts if not part.is_seekable)
            raise ValueError(
                f"{WHO}: shuffle='full' reaches for single rows, but {name} must be read in blocks; use "
                "shuffle='block', or write the data as local .npy, uncompressed Arrow IPC or uncompressed Parquet."
            )
        if self.shuffle == "block" and not self.table.is_mapped:
            largest = int(np.argmax(sizes))
            need = 2 * int(sizes[largest]) * row_bytes
            if need > self.memory // 2:
                raise ValueError(
                    f"{WHO}: shuffle='block' holds two blocks in memory, but the one at "
                    f"{self.table.place(int(bounds[largest]))} has {sizes[largest]} rows, so that two "
                    f"are {need >> 20} MiB, more than half of memory="
                    f"{self.memory >> 20} MiB; raise memory, write smaller row groups, or use shuffle=False."
                )
        return Order(bounds, self.shuffle, self.seed, window), block_rows

    # ------------------------------------------------------------------------------------------------------- batches

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        check_start(self, epoch, start)
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        # Whole gathers from the beginning of the one that holds `start`: a batch then lies at the same place in its
        # memory as in a run that was not interrupted, so that no kernel can choose another path by its alignment.
        skipped = start % self._together
        groups = [
            range(first, min(first + self._together, self.steps_per_epoch))
            for first in range(start - skipped, self.steps_per_epoch, self._together)
        ]
        self.epoch, self.batch = epoch, start
        stream = self._read(epoch, groups)
        for batch in islice(stream, skipped, None):
            self.batch += 1
            yield batch

    def places(self, epoch: int, start: int = 0) -> Iterator[Array | range]:
        """Yield the row numbers of this rank's part of every batch, which counts as given out.

        For kernels that read the rows where they lie (`mapped`): the same rows in the same order as `batches`.
        """
        check_start(self, epoch, start)
        order = self._order.epoch(epoch)
        self.epoch, self.batch = epoch, start
        ahead = Ahead(order, self._lender, self._row_bytes)
        for index in range(start, self.steps_per_epoch):
            first, past = self._positions(index)
            self.batch += 1
            began = time.perf_counter()
            if self.shuffle is False and self.world_size == 1:
                yield range(first, past)
            else:
                yield np.ascontiguousarray(order.rows(first, past)[self.rank :: self.world_size])
            ahead.took(time.perf_counter() - began, first, past)

    def lying(self, epoch: int, start: int = 0) -> Iterator[tuple[Rows, Array | range]]:
        """Yield for this rank's part of every batch where its rows lie, and which of them it is, in its order.

        The same rows as `batches`, without a copy where that can be: all rows of a local ``.npy`` file, or the window
        of blocks that was read. They are valid until the next batch is asked for, and nobody has looked for NaN,
        infinities or negative weights in them: it is for the borrower to see them in its sums and to call
        `check_values`, which names the place.

        >>> import tempfile, thalweg as tw
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/a.npy", np.arange(10.0, dtype=np.float32).reshape(5, 2))
        ...     source = tw.data.stream(f"{folder}/a.npy", target=1, batch_size=2, shuffle=False)
        ...     [rows.y[places].tolist() for rows, places in source.lying(0)]
        [[1.0, 3.0], [5.0, 7.0], [9.0]]
        """
        with self.mapped() as rows:
            if rows is not None:
                for place in self.places(epoch, start):
                    yield rows, place
                return
        check_start(self, epoch, start)
        self.epoch, self.batch = epoch, start
        spans = [self._span(range(index, index + 1)) for index in range(start, self.steps_per_epoch)]
        if not spans:
            return
        buffers = Buffers(self.table.layout, self.batch_size)
        for lent in lend(self.table, self._order.epoch(epoch), spans, buffers, _ALIVE):
            self.batch += 1
            yield lent

    @contextmanager
    def mapped(self) -> Iterator[Rows | None]:
        """Lend all rows as views of the mapped file, x **(n, D)**; None where they must be read or converted.

        Nobody has looked for NaN, infinities or negative weights in them: it is for the borrower to see them in its
        sums and to call `check_values`, which names the place.
        """
        with self.table.reader() as reader:
            like = self.table.layout.empty(1)
            self._lender = reader
            try:
                flat = len(self.table.layout.shape) == 1
                yield reader.views_of_all(like) if self.table.is_mapped and flat else None
            finally:
                self._lender = None

    def some(self, epoch: int, indices: Sequence[int]) -> Iterator[Batch]:
        """Yield the batches *indices* of *epoch*, which must grow; `epoch` and `batch` stay as they are.

        >>> import tempfile, thalweg as tw
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/a.npy", np.arange(10.0).reshape(10, 1))
        ...     source = tw.data.stream(f"{folder}/a.npy", batch_size=4, shuffle=False)
        ...     [x.flatten().tolist() for x in source.some(0, [0, 2])]
        [[0.0, 1.0, 2.0, 3.0], [8.0, 9.0]]
        """
        return self._read(epoch, [range(index, index + 1) for index in indices])

    def _read(self, epoch: int, groups: Sequence[range]) -> Iterator[Batch]:
        """Yield the batches of *groups*, each group out of one gather, made on a thread."""
        if not groups:
            return
        spans = [self._span(group) for group in groups]
        most = max(span.stop - span.start for span in spans)
        alive = max(2, min(_ALIVE, self.memory // 8 // max(1, most * self._row_bytes)))
        buffers = Buffers(self.table.layout, most)
        stream = feed(self.table, self._order.epoch(epoch), spans, buffers, alive)
        on_host = self.device.type == "cpu"
        for group, rows in zip(groups, stream, strict=True):
            start = 0
            for index in group:
                stop = start + self._size(index)
                batch = tensors(cut(rows, start, stop), self.table.layout.shape)
                yield batch[0] if len(batch) == 1 else batch if on_host else to_device(batch, self.device)
                start = stop
            del rows

    @property
    def _row_bytes(self) -> int:
        return self.table.layout.row_bytes

    def _positions(self, index: int) -> tuple[int, int]:
        return index * self.batch_size, min((index + 1) * self.batch_size, self.n)

    def _size(self, index: int) -> int:
        """Return the rows that this rank has of a batch."""
        start, stop = self._positions(index)
        return len(range(self.rank, stop - start, self.world_size))

    def _span(self, group: range) -> Span:
        start, stop = self._positions(group[0])[0], self._positions(group[-1])[1]
        if self.world_size == 1:
            return Span(start, stop)
        mine = [np.arange(first + self.rank, past, self.world_size) for first, past in map(self._positions, group)]
        return Span(start, stop, np.concatenate(mine) - start)

    def first(self) -> Batch:
        """Return the first rows of the files, unshuffled."""
        return self._batch(self._first_rows(min(self.n, self.batch_size)))

    def head(self, count: int) -> Rows:
        """Return the first *count* rows of the files, unchecked; fewer where there are fewer, or memory is short."""
        return self._first_rows(min(self.n, count, max(1, self.memory // 8 // self._row_bytes)))

    def _first_rows(self, count: int) -> Rows:
        rows = self.table.layout.empty(count)
        with self.table.reader() as reader:
            reader.read(0, len(rows.x), rows)
        return rows

    def _batch(self, rows: Rows) -> Batch:
        batch = tensors(rows, self.table.layout.shape)
        return to_device(batch[0] if len(batch) == 1 else batch, self.device)

    def rows_of(self, epoch: int, batch_index: int) -> Tensor:
        check_start(self, epoch, batch_index)
        start, stop = self._positions(batch_index)
        return torch.from_numpy(self._order.epoch(epoch).rows(start, stop)[self.rank :: self.world_size].copy())

    def gather(self, indices: Tensor) -> Batch:
        if not self.table.is_seekable:
            return super().gather(indices)
        rows = self.table.layout.empty(len(indices))
        with self.table.reader() as reader:
            reader.gather(indices.cpu().numpy(), rows)
        return self._batch(rows)

    # -------------------------------------------------------------------------------------------------------- blocks

    def blocks(self, *, check: bool = True) -> Iterator[tuple[Array, Array | None, Array | None]]:
        """Yield all rows once, in the order of the files, as (x **(m, D)**, y **(m,)** or **(m, K)**, w **(m,)**).

        Local ``.npy`` files of the right type come as views of the mapped file (rows may then be more than D values
        apart). All others are read ahead on a thread into a few buffers that are used again, so that an array is valid
        until the next one is asked for. All ranks read all rows. y and w are None where the stream has none;
        integer targets come as *dtype*.

        Args:
            check: look for NaN and infinities, as batches do; without, it is for the caller to see them in its sums
                and to call `check_values`, which names the place.
        """
        count = max(1, min(PASS_BYTES, self.memory // 8) // self._row_bytes)
        yield from self._pass(count, check)

    def _pass(self, count: int, check: bool) -> Iterator[tuple[Array, Array | None, Array | None]]:
        alive = 1 if self.table.is_mapped else 3
        buffers = [self.table.layout.empty(count) for _ in range(alive)]

        def read() -> Iterator[tuple[int, Rows]]:
            with self.table.reader() as reader:
                for turn, start in enumerate(range(0, self.n, count)):
                    stop = min(start + count, self.n)
                    if self.table.is_mapped and stop < self.n:
                        reader.will_need([(stop, min(stop + 4 * count, self.n))])
                    yield start, reader.view_or_read(start, stop, cut(buffers[turn % alive], 0, stop - start))

        for start, rows in read() if self.table.is_mapped else read_ahead(read, alive):
            if check:
                self._check(rows, start)
            y = rows.y if rows.y is None or rows.y.dtype.kind == "f" else rows.y.astype(rows.x.dtype)
            yield rows.x, y, rows.w

    def _check(self, rows: Rows, start: int) -> None:
        check_rows(self.table, rows, lambda place: start + place)

    # --------------------------------------------------------------------------------------------------------- state

    def state(self) -> dict[str, Any]:
        """Return (seed, epoch, position), the fingerprint, and the settings that the order depends on; JSON, < 1 KB."""
        position = min(self.batch * self.batch_size, self.n)
        return {**self._settings(), "epoch": self.epoch, "position": position}

    def _settings(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "seed": self.seed,
            "block_rows": self._block_rows,
            "window": self._order.window,
            "fingerprint": self.fingerprint,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        saved = dict(state)
        found = saved.get("fingerprint")
        if found is not None and found != self.fingerprint:
            raise ValueError(
                f"{WHO}: the files have changed since the state was saved (fingerprint {found} then, "
                f"{self.fingerprint} now; {saved.get('n')} rows then, {self.n} now), or other columns or types are "
                "asked for; put the files back as they were, their times included, or start a new run."
            )
        check_state(self._settings(), saved)
        self.epoch = int(saved["epoch"])
        self.batch = -(-int(saved["position"]) // self.batch_size)

    def remaining(self) -> Iterator[Batch]:
        """Yield the batches of the epoch that `load_state` stands in which were not given out yet."""
        return self.batches(self.epoch, min(self.batch, self.steps_per_epoch))

    # --------------------------------------------------------------------------------------------------------- check

    def check(self) -> None:
        """Look at the first rows only; all others are looked at when they are read."""
        self._check(self._first_rows(min(self.n, self.batch_size)), 0)

    def check_values(self) -> None:
        """Read all rows once and look for NaN and infinities.

        Raises:
            ValueError: with value, column, row and file.
        """
        for _ in self.blocks(check=True):
            pass

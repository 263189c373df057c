"""A stream behind torch's own DataLoader."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import IterableDataset, get_worker_info

from ..batch import Batch
from .source import StreamSource

__all__ = ["StreamDataset"]


class StreamDataset(IterableDataset[Batch]):
    """The batches of a stream for ``torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=…)``.

    Worker w of W yields the batches w, w + W, …; the loader asks its workers in turn, so that the batches arrive in
    the order of the stream whatever W is. Every worker reads the blocks that its batches need.

    Args:
        source: the stream; its device must be the CPU where workers are used.
        epoch: which epoch, from 0; ``set_epoch`` changes it.
        start: the batch to begin with in that epoch (``source.batch`` after ``load_state``).

    >>> import tempfile, numpy as np, thalweg as tw
    >>> from torch.utils.data import DataLoader
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/a.npy", np.arange(5.0).reshape(5, 1))
    ...     source = tw.data.stream(f"{folder}/a.npy", batch_size=2, shuffle=False)
    ...     [x.flatten().tolist() for x in DataLoader(StreamDataset(source), batch_size=None)]
    [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """

    def __init__(self, source: StreamSource, epoch: int = 0, start: int = 0) -> None:
        if not isinstance(source, StreamSource):
            raise TypeError(f"StreamDataset: got a {type(source).__name__}; give what thalweg.data.stream returns.")
        self.source = source
        self.epoch = epoch
        self.start = start

    def set_epoch(self, epoch: int) -> None:
        """Turn to *epoch*; another than the present one begins with its first batch."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __len__(self) -> int:
        """Return the batches that are left of the epoch."""
        return self.source.steps_per_epoch - self.start

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        if count == 1:
            return self.source.some(self.epoch, range(self.start, self.source.steps_per_epoch))
        return self.source.some(self.epoch, range(self.start + number, self.source.steps_per_epoch, count))

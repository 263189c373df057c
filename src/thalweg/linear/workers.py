"""The rows of a block shared out among threads, each with one core and sums of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import TracebackType

import torch

__all__ = ["Workers", "one_core"]


@contextmanager
def one_core(on: bool = True) -> Iterator[None]:
    """Let torch compute with one thread inside the block: for small operations, waking others costs more.

    Args:
        on: whether to change anything.
    """
    before = torch.get_num_threads()
    if not on or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Workers:
    """Threads that take equal shares of a block's rows.

    Splitting each small product among the cores would make them wait for each other thousands of times; a share is
    summed by one thread from beginning to end. Which rows a thread takes depends on the number of threads alone, so
    that a sum repeats bit for bit on the same number.

    Args:
        count: threads; None takes as many as torch uses.

    >>> taken = []
    >>> with Workers(2) as workers:
    ...     workers.share(10, lambda worker, start, stop: taken.append((worker, start, stop)), least=1)
    >>> sorted(taken)
    [(0, 0, 5), (1, 5, 10)]
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = torch.get_num_threads() if count is None else count
        self._pool: ThreadPoolExecutor | None = None
        self._before = self.count

    def __enter__(self) -> Workers:
        self._before = torch.get_num_threads()
        if self.count > 1:
            self._pool = ThreadPoolExecutor(
                self.count, thread_name_prefix="linear", initializer=lambda: torch.set_num_threads(1)
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
            # The threads' own setting is also what threads made later begin with.
            torch.set_num_threads(self._before)

    def share(self, rows: int, work: Callable[[int, int, int], None], least: int = 1024) -> None:
        """Call ``work(worker, start, stop)`` for each share of ``0 … rows``, and return when all are done.

        Args:
            rows: rows of the block.
            work: what sums one share; its first argument says whose sums.
            least: rows below which a share of its own is not worth a thread.
        """
        if self._pool is None or rows < 2 * least:
            work(0, 0, rows)
            return
        bounds = [rows * worker // self.count for worker in range(self.count + 1)]
        futures = [self._pool.submit(work, worker, bounds[worker], bounds[worker + 1]) for worker in range(self.count)]
        wait(futures)  # none may read the block after it is given back
        for future in futures:
            future.result()

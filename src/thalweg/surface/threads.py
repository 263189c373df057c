"""Blocks of rows shared out among threads, each computing with one core of its own.

Splitting every small product among the cores would make them wait for each other thousands of times; a block of rows is
computed by one thread from beginning to end. PyTorch releases Python's lock while it computes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["ordered"]

Block = TypeVar("Block")
Found = TypeVar("Found")


def ordered(
    make: Callable[[], Callable[[Block], Found]], items: Iterable[Block], workers: int
) -> Iterator[tuple[Block, Found]]:
    """Yield (item, result) in the order of *items*, computed by *workers* threads.

    Only a few items are taken ahead, so that data that are streamed stay streamed. An exception, Ctrl-C included, ends
    the threads before it goes on.

    Args:
        make: called once per thread; returns what computes one item.
        items: what is computed.
        workers: threads; 1 computes in the caller's own.

    >>> list(ordered(lambda: lambda x: x * x, [1, 2, 3], 2))
    [(1, 1), (2, 4), (3, 9)]
    """
    if workers <= 1:
        compute = make()
        for item in items:
            yield item, compute(item)
        return
    own = threading.local()
    threads_before = torch.get_num_threads()
    stopped = threading.Event()

    def start() -> None:
        torch.set_num_threads(1)  # of this thread
        own.compute = make()

    def work(item: Block) -> Found | None:
        if stopped.is_set():
            return None
        with torch.no_grad():
            found: Found = own.compute(item)
        return found

    pool = ThreadPoolExecutor(workers, thread_name_prefix="surface", initializer=start)
    waiting: deque[tuple[Block, Future[Found | None]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > 2 * workers:
                done, future = waiting.popleft()
                yield done, future.result()  # type: ignore[misc]  # None only after the end
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()  # type: ignore[misc]
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)
        # The threads' own setting is also what threads made later begin with.
        torch.set_num_threads(threads_before)

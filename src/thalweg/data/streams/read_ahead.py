"""Work done on a thread, a few items ahead of who needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")


def read_ahead(make: Callable[[], Iterator[T]], slots: int) -> Iterator[T]:
    """Yield what ``make()`` yields, made on a thread of its own, with at most *slots* items alive at a time.

    An item is alive from before it is made until its consumer asks for the next one, so that *slots* buffers used in
    turn are never written while they are read. An exception on the thread is raised where its item would have come.
    Leaving the iteration early stops the thread before its next item and waits for it.

    >>> list(read_ahead(lambda: iter(range(3)), slots=2))
    [0, 1, 2]
    """
    ready: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    free: SimpleQueue[None] = SimpleQueue()  # a semaphore, without the cost of Python's own
    for _ in range(slots):
        free.put(None)
    stopped = threading.Event()

    def work() -> None:
        try:
            items = make()
            try:
                while True:
                    free.get()
                    if stopped.is_set():
                        return
                    try:
                        item = next(items)
                    except StopIteration:
                        ready.put(("end", None))
                        return
                    ready.put(("item", item))
                    del item
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()
        except BaseException as error:
            ready.put(("error", error))

    thread = threading.Thread(target=work, name="thalweg-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
            del value  # its buffer may be written from here on
            free.put(None)
    finally:
        stopped.set()
        free.put(None)
        thread.join()

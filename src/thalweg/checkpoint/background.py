"""Writing while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["BackgroundWriter"]


class BackgroundWriter:
    """Runs one writing job at a time on a thread; a failure is raised at the next call.

    A job must own what it writes: the caller copies tensors before it hands them over.

    >>> writer = BackgroundWriter()
    >>> done = []
    >>> writer.submit(lambda: done.append("written"))
    >>> writer.wait()
    >>> done
    ['written']
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def submit(self, job: Callable[[], object]) -> None:
        """Start *job* once the one before is done.

        Raises:
            BaseException: what the one before failed with.
        """
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(job,), name="thalweg-checkpoint")
        self._thread.start()

    def _run(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error

    def wait(self) -> None:
        """Wait for the job that runs.

        Raises:
            BaseException: what it failed with.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

"""How a command ends: its exit status, and what it says when it cannot go on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import TracebackType

import typer

__all__ = ["ending"]

# typer's own mistakes of usage; newer versions of typer carry the classes of click within.
_Usage: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

# What Thalweg raises for a user to put right.
_MESSAGES = (ValueError, TypeError, OSError, RuntimeError, ImportError, FloatingPointError)


def ending(command: Callable[[], object]) -> int:
    """Run *command* and return its exit status; a user's mistake becomes a message on standard error.

    Raises:
        Exception: a mistake that is not the user's; Python shows its traceback.
    """
    try:
        status = command()
    except _Usage as error:
        error.show()  # type: ignore[attr-defined]
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # Who reads our output (head, less) has gone; Python would complain once more while it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except _MESSAGES as error:
        if not _raised_here(error.__traceback__):
            raise
        print(error, file=sys.stderr)
        return 2
    return status if isinstance(status, int) else 0


def _raised_here(trace: TracebackType | None) -> bool:
    """Whether the innermost frame is Thalweg's own: it refused something, and its message says what."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return name.split(".")[0] == "thalweg"

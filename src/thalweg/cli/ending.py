"""How a command ends: its exit status, and what it says when it cannot go on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from thalweg.recipe import is_refusal

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
        if not is_refusal(error):
            raise
        print(error, file=sys.stderr)
        return 2
    return status if isinstance(status, int) else 0

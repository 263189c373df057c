"""The console script: runs a command, and ends it as a user expects."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .app import app
from .ending import ending
from .notices import notices

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``thalweg`` and leave the interpreter with its exit status.

    0: done. 2: something the user can put right; one message on standard error. 130: Ctrl-C. A traceback is shown for
    what is a mistake in Thalweg or in the user's own module.

    Args:
        arguments: of the command line; None takes the program's own.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that has no × prints ?
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a recipe may name modules in the folder it is run from
    words = None if arguments is None else list(arguments)
    with notices():
        status = ending(lambda: app(args=words, standalone_mode=False))
    sys.exit(status)

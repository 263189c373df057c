"""``thalweg report``: the one-file page of a run, made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg import report as reports

__all__ = ["report"]


def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="The run directory.", show_default=False)]) -> None:
    """Write RUN/report.html anew, and print its path."""
    print(reports.build(run))

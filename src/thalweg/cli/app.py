"""The application; a new command is a file beside this one, and a name in ``COMMANDS``."""

from __future__ import annotations

from typing import Annotated

import typer

import thalweg

from .data import data
from .find import find
from .plan import plan
from .race import race
from .recipes import recipes
from .recommend import recommend
from .report import report
from .run import run
from .surface import surface
from .verify import verify

__all__ = ["COMMANDS", "app"]

#: Every command, in the order of ``thalweg --help``.
COMMANDS = (run, plan, find, race, surface, report, verify, recipes, data)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"thalweg {thalweg.__version__}")
        raise typer.Exit


@app.callback()
def thalweg_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The optimisation side of training PyTorch models, done right and seen."""


for command in COMMANDS:
    app.command()(command)
app.add_typer(recommend, name="recommend")

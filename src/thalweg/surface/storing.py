"""Results on disk: arrays and plain data in one ``.npz`` without pickle, or in one Parquet table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import write_text, write_whole
from .parquet import read_table, write_table

__all__ = ["read_arrays", "write_arrays", "write_figure"]


def write_arrays(
    path: Path | str,
    kind: str,
    arrays: Mapping[str, NDArray[Any] | None],
    plain: Mapping[str, Any],
    axes: Sequence[str],
) -> Path:
    """Write *arrays* (None is left out) and JSON-able *plain* data; return the path.

    Args:
        path: ends in ``.parquet``, for a table with a row per point of the grid that *axes* span, or in ``.npz``, which
            is added where it does not.
        kind: the class whose data these are.
        arrays: by name.
        plain: further data.
        axes: the arrays that hold the coordinates along each dimension of the grid.
    """
    path = Path(path)
    held = {name: array for name, array in arrays.items() if array is not None}
    if path.suffix == ".parquet":
        write_table(path, held, axes, {"kind": kind, **plain})
        return path
    if path.suffix != ".npz":
        path = path.with_name(path.name + ".npz")
    document = json.dumps({"kind": kind, **plain})

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **held, plain=np.array(document))

    write_whole(path, fill)
    return path


def read_arrays(path: Path | str, kind: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return (arrays, plain data) that :func:`write_arrays` wrote.

    Raises:
        ValueError: the file is another one.
    """
    try:
        if Path(path).suffix == ".parquet":
            arrays, plain = read_table(Path(path))
        else:
            with np.load(Path(path), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files if name != "plain"}
                plain = json.loads(str(file["plain"]))
        found = plain.pop("kind")
    except FileNotFoundError:
        raise
    except (KeyError, OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{kind}.load: {path} cannot be read ({error}); give a file that {kind}.save wrote."
        ) from error
    if found != kind:
        raise ValueError(f"{kind}.load: {path} holds a {found}; load it with tw.surface.{found}.load.")
    return arrays, plain


def write_figure(run: Path | str, name: str, figure: Mapping[str, Any]) -> Path:
    """Write *figure* to ``figures/NAME.json`` of a run directory, from where its report takes it; return the path.

    Raises:
        ValueError: there is no such directory.
    """
    run = Path(run)
    if not run.is_dir():
        raise ValueError(f"surface: {run} is no directory; give the directory of a run.")
    folder = run / "figures"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    write_text(path, json.dumps(figure) + "\n")
    return path

"""``[data]``: a name, ``"package.module:function"``, or a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from thalweg.loss import Loss

from ..arguments import check_keys, check_types, with_defaults
from ..files import read_pickle_parts, read_table_parts, targets_for
from ..names import Names
from ..parts import Parts, as_parts

__all__ = ["absolute", "check", "make", "reader", "refuse_file"]


def reader(path: object) -> Callable[..., Parts]:
    """Return the function that reads the file: of a table, or of ``mnist.pkl.gz``."""
    name = str(path)
    return read_pickle_parts if name.endswith((".pkl", ".pkl.gz", ".pickle")) else read_table_parts


def check(given: Mapping[str, Any], place: str, names: Names) -> dict[str, Any]:
    """Return the complete section; paths become absolute.

    Raises:
        ValueError: an unknown data set, an unknown or missing key, a value of the wrong type.
    """
    if "path" in given:
        if "name" in given:
            raise ValueError(
                f"{place}: name = {given['name']!r} and path = {given['path']!r} are both given; keep one."
            )
        read = reader(given["path"])
        check_keys(place, read, given, besides=("name",))
        check_types(place, read, given)
        return with_defaults(read, given)
    if "name" not in given:
        raise ValueError(f"{place}: neither 'name' nor 'path' is given; name a data set or a file.")
    refuse_file(given["name"], place)
    name, function = names.data.find(given["name"], place)
    arguments = {key: value for key, value in given.items() if key != "name"}
    check_keys(place, function, arguments, besides=("path",))
    if ":" not in name:
        check_types(place, function, arguments)
    return {"name": name, **with_defaults(function, arguments)}


def refuse_file(name: object, place: str) -> None:
    """Raise where the name of a data set is that of a file.

    >>> refuse_file("table.csv", "recipe.toml [data]")
    Traceback (most recent call last):
    ...
    ValueError: recipe.toml [data]: 'table.csv' looks like a file, and a file is given by path = 'table.csv' and \
target = the column to predict.
    """
    if isinstance(name, str) and ":" not in name and "." in name:
        raise ValueError(
            f"{place}: {name!r} looks like a file, and a file is given by path = {name!r} and target = the column to "
            "predict."
        )


def make(plain: Mapping[str, Any], place: str, names: Names, loss: Loss) -> Parts:
    """Return the data; a table's target becomes classes or numbers as the loss needs them.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is damaged, or a column cannot be used.
        TypeError: a user's function returned something else than parts.
    """
    if "path" in plain:
        read = reader(plain["path"])
        return targets_for(read(**plain), loss) if read is read_table_parts else read(**plain)
    name, function = names.data.find(plain["name"], place)
    return as_parts(function(**{key: value for key, value in plain.items() if key != "name"}), name, place)


def absolute(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the section with its files' paths made absolute, as seen from *folder*."""
    files = ("path", "valid", "test") if "path" in given else ("file",)
    return {
        key: str((folder / value).absolute()) if key in files and isinstance(value, str) else value
        for key, value in given.items()
    }

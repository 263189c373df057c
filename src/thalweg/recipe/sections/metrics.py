"""``metrics``: names, or what can be imported, with arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from thalweg.errors import unknown_name

from ..arguments import check_keys
from ..importing import import_object

__all__ = ["check", "make"]


def check(given: Any, place: str) -> dict[str, Any]:
    """Return the complete section: ``{"names": […]}``.

    Args:
        given: a name, a list of names and tables ``{name = "package.module:Metric", …}``, or ``{"names": that list}``.
        place: where it stands, for messages.

    Raises:
        ValueError: something else; what cannot be imported.
    """
    if isinstance(given, Mapping):
        for key in given:
            if key != "names":
                raise unknown_name(place, "key", key, ["names"])
        given = given.get("names", [])
    items = [part.strip() for part in given.split(",")] if isinstance(given, str) else given
    if not isinstance(items, list):
        raise ValueError(f'{place}: {given!r} is no list of metrics; write metrics = ["accuracy"].')
    for item in items:
        make_one(item, place)
    return {"names": items}


def make(plain: Mapping[str, Any], place: str) -> list[Any]:
    """Return the metrics as ``Learner`` takes them: names, and objects where something was imported."""
    return [make_one(item, place) for item in plain["names"]]


def make_one(item: Any, place: str) -> Any:
    """Return one metric: its name, or the object that is imported (a class is called with its arguments).

    Raises:
        ValueError: neither a name nor a table with one; what cannot be imported; unknown arguments.
    """
    name = item.get("name") if isinstance(item, Mapping) else item
    if not isinstance(name, str):
        raise ValueError(
            f'{place}: {item!r} is no metric; write a name, or {{name = "package.module:Metric", …}} with arguments.'
        )
    arguments = {key: value for key, value in item.items() if key != "name"} if isinstance(item, Mapping) else {}
    if ":" not in name:
        if arguments:
            raise ValueError(
                f"{place}: {name!r} takes no arguments; name the class itself, as in "
                '{name = "torchmetrics.classification:MulticlassF1Score", num_classes = 10}.'
            )
        return name
    found = import_object(name, place)
    if not inspect.isclass(found):
        return found
    check_keys(f"{place} {name!r}", found, arguments)
    try:
        return found(**arguments)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{place}: {name!r} was given {arguments} and refused: {error}") from error

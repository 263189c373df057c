"""``[model]``: a name or ``"package.module:Net"``, with its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..arguments import check_keys, check_types, parameters, with_defaults
from ..names import Names
from ..sizes import SIZES, Sizes

__all__ = ["check", "make"]


def check(given: Mapping[str, Any], place: str, names: Names) -> dict[str, Any]:
    """Return the complete section; sizes that the data decide stay ``"auto"``.

    Raises:
        ValueError: an unknown model, an unknown or missing argument, an argument of the wrong type.
    """
    name, kind = names.model.find(given["name"], place)
    arguments = {key: value for key, value in given.items() if key != "name"}
    if ":" not in name:
        arguments = {key: "auto" for key in SIZES if key in parameters(kind)} | arguments
    advice = f'give a value, or "auto" to take {", ".join(SIZES[:-1])} or {SIZES[-1]} from the data'
    check_keys(place, kind, arguments, advice=advice)
    if ":" not in name:
        check_types(place, kind, arguments, auto=SIZES)
    return {"name": name, **with_defaults(kind, arguments)}


def make(plain: Mapping[str, Any], place: str, names: Names, sizes: Callable[[], Sizes]) -> nn.Module:
    """Return the module.

    Args:
        plain: the section.
        place: where it stands, for messages.
        names: what names stand for.
        sizes: what the data say about ``"auto"``; called only where an argument is that.

    Raises:
        ValueError: arguments that cannot work, or a size that the data do not tell.
        TypeError: what was named makes no ``nn.Module``.
    """
    name, kind = names.model.find(plain["name"], place)
    arguments = {key: value for key, value in plain.items() if key != "name"}
    for key in SIZES:
        if arguments.get(key) == "auto":
            arguments[key] = sizes().get(key, f"{place}: model {name!r}")
    model = kind(**arguments)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{place}: {name!r} made a {type(model).__name__}, and a torch.nn.Module is needed; name a module's class, "
            "or a function that returns a module."
        )
    return model

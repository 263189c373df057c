"""``[loss]``: a name, ``"torch.nn:SmoothL1Loss"``, or ``"package.module:function"``, with its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg import loss as losses
from thalweg.loss import Loss, Penalty

from ..arguments import check_keys, plain, with_defaults
from ..names import Names
from ..places import at

__all__ = ["check", "check_penalty", "make", "make_penalty"]


def make(given: Mapping[str, Any], place: str, names: Names) -> Loss:
    """Return the loss.

    Raises:
        ValueError, TypeError: an unknown name or key, a value that the loss refuses.
    """
    name, kind = names.loss.find(given["name"], place)
    options = {key: value for key, value in given.items() if key != "name"}
    if ":" not in name:
        check_keys(place, kind, options, besides=("reduction",))
    with at(place):
        return losses.make(name, **options) if name in losses.NAMES or ":" in name else losses.make(kind(**options))


def check(given: Mapping[str, Any], place: str, names: Names) -> dict[str, Any]:
    """Return the complete section.

    Raises:
        ValueError, TypeError: as :func:`make`.
    """
    made = make(given, place, names)
    name, kind = names.loss.find(given["name"], place)
    options = {key: value for key, value in given.items() if key != "name"}
    return {"name": name, **(with_defaults(kind, options) if ":" not in name else plain(losses.to_dict(made)))}


def make_penalty(given: Mapping[str, Any], place: str, names: Names) -> Penalty:
    """Return the penalty that ``{name = "l2", wd = 1e-5}`` describes.

    Raises:
        ValueError, TypeError: an unknown name or key, a value that the penalty refuses.
    """
    if "name" not in given:
        raise ValueError(f"{place}: 'name' is missing; write penalty = {{name = \"l2\", wd = 1e-5}}.")
    _, kind = names.penalty.find(given["name"], place)
    settings = {key: value for key, value in given.items() if key != "name"}
    check_keys(place, kind, settings)
    with at(place):
        penalty: Penalty = kind(**settings)
    return penalty


def check_penalty(given: Mapping[str, Any], place: str, names: Names) -> dict[str, Any]:
    """Return the penalty's complete plain data.

    Raises:
        ValueError, TypeError: as :func:`make_penalty`.
    """
    make_penalty(given, place, names)
    name, kind = names.penalty.find(given["name"], place)
    return {"name": name, **with_defaults(kind, {key: value for key, value in given.items() if key != "name"})}

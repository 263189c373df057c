"""``"package.module:name"``: anything that can be imported, by its place."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from thalweg.errors import did_you_mean

__all__ = ["import_object"]


def import_object(path: str, place: str) -> Any:
    """Return what *path* names.

    A module that raises while it is imported lets its own exception through: that is a mistake in the module.

    Args:
        path: ``"package.module:name"``; the name may have dots (``"nets:Zoo.Small"``).
        place: who asks, for messages.

    Raises:
        ValueError: there is no such module, or it has no such name.

    >>> import_object("torch.nn:Linear", "recipe.toml [model]")
    <class 'torch.nn.modules.linear.Linear'>
    >>> import_object("torch.nn:Linaer", "recipe.toml [model]")
    Traceback (most recent call last):
    ...
    ValueError: recipe.toml [model]: the module 'torch.nn' has no 'Linaer'. Did you mean 'Linear'?
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise ValueError(f"{place}: {path!r} is not of the form 'package.module:name'; write both sides of the colon.")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that is missing inside the user's own module is that module's mistake.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"{place}: {path!r} cannot be imported, because there is no module {error.name!r} in {Path.cwd()} or among "
            "the installed packages; check the spelling, or go to the folder that holds it."
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            where = f"the module {module_name!r}" if found.__class__.__name__ == "module" else repr(found)
            raise ValueError(f"{place}: {where} has no {part!r}.{did_you_mean(part, dir(found))}")
        found = getattr(found, part)
    return found

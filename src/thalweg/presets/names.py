"""Presets by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thalweg.errors import unknown_name

from .adafactor import adafactor
from .fine_tuning import fine_tuning
from .preset import Preset
from .pretraining import pretraining
from .translation import translation

__all__ = ["NAMES", "make"]

NAMES: dict[str, Callable[..., Preset]] = {
    "fine-tuning": fine_tuning,
    "pretraining": pretraining,
    "translation": translation,
    "adafactor": adafactor,
}
"""The presets."""


def make(name: str, **changes: Any) -> Preset:
    """Return the preset *name* of `NAMES`.

    Args:
        name: of the preset.
        **changes: of its function's arguments.

    Raises:
        ValueError: the name is not known.

    >>> make("fine-tuning", lr=1e-4).optimizer.lr
    0.0001
    """
    found = NAMES.get(name.replace("_", "-"))
    if found is None:
        raise unknown_name("presets", "preset", name, NAMES)
    return found(**changes)

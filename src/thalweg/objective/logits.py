"""What a loss reads of a model's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["logits_of"]


def logits_of(output: Any) -> Any:
    """Return what the loss reads: ``output.logits`` where a model returns an object with logits, else the output.

    >>> logits_of({"logits": 1, "hidden": 2}), logits_of(3)
    (1, 3)
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and "logits" in output:
        return output["logits"]
    # a method of that name is no value: `Projected.logits()` makes them
    found = getattr(output, "logits", output)
    return output if callable(found) and not isinstance(found, Tensor) else found

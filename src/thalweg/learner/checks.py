"""Looking at the data before the first step, so that mistakes are found before training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from thalweg.data import MemorySource, Source, split
from thalweg.loop import Precision, eval_mode
from thalweg.loss import Loss
from thalweg.objective import logits_of

__all__ = ["example_output", "prepare_loss"]


def describe(value: Any) -> str:
    """Return shape and dtype in words.

    >>> describe((torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)))
    '((2, 3) float32, (2,) int64)'
    """
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(describe(item) for item in value) + ")"
    return type(value).__name__


def example_output(model: nn.Module, source: Source, precision: Precision) -> tuple[Any, Any, Tensor | None]:
    """Return (output, target, row weights) for the first rows, in evaluation mode; nothing random is consumed.

    Raises:
        ValueError: the model cannot take the data; both shapes are named, with what the model said.
    """
    parts = split(source.first())
    # With gradients, although none is taken: a loss recognises a sigmoid inside the model by its graph.
    with torch.enable_grad(), eval_mode(model):
        try:
            with precision.context():
                output = logits_of(model(*parts.args, **parts.kwargs))
        except (RuntimeError, TypeError, IndexError, ValueError, AttributeError) as error:
            given = describe(parts.args if not parts.kwargs else {**parts.kwargs})
            raise ValueError(
                f"Learner: {type(model).__name__} cannot take the data: a batch's inputs are {given}; the model said: "
                f"{error}. Make the shapes and dtypes fit."
            ) from error
    return output, parts.target, parts.row_weight


def prepare_loss(loss: Loss, model: nn.Module, source: Source, precision: Precision) -> tuple[Loss, Any, Any]:
    """Check an example batch, and all targets where they are in memory; return the loss made ready for this data.

    Returns:
        (loss, output, target): the specialised loss and the example it was checked on.
    """
    source.check()
    output, target, row_weight = example_output(model, source, precision)
    if target is None:
        raise ValueError(
            "Learner: the data have no targets, so there is nothing to compare the output with; pass (X, y), or dicts "
            "with 'labels'."
        )
    loss.check(output, target, row_weight)
    targets = None
    if isinstance(source, MemorySource):
        whole = split(source.whole()).target
        targets = whole if isinstance(whole, Tensor) else None
    return loss.specialise(output, target, targets), output, target

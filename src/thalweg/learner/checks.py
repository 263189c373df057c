"""Looking at the data before the first step, so that mistakes are found before training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from thalweg.data import MemorySource, Source, Split, split
from thalweg.loop import Precision, eval_mode
from thalweg.loss import Loss
from thalweg.metric import is_token_loss
from thalweg.objective import Inputs, follow_model, logits_of

from .tokens import example, vocabulary_of

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


def example_output(model: nn.Module, parts: Split, precision: Precision) -> Any:
    """Return the output for example rows, in evaluation mode; nothing random is consumed.

    Raises:
        ValueError: the model cannot take the data; both shapes are named, with what the model said.
    """
    args, kwargs = Inputs(model)(parts)
    # With gradients, although none is taken: a loss recognises a sigmoid inside the model by its graph.
    with torch.enable_grad(), eval_mode(model):
        try:
            with precision.context():
                return logits_of(model(*args, **kwargs))
        except (RuntimeError, TypeError, IndexError, ValueError, AttributeError) as error:
            given = describe(parts.args if not parts.kwargs else {**parts.kwargs})
            raise ValueError(
                f"Learner: {type(model).__name__} cannot take the data: a batch's inputs are {given}; the model said: "
                f"{error}. Make the shapes and dtypes fit."
            ) from error


def prepare_loss(loss: Loss, model: nn.Module, source: Source, precision: Precision) -> tuple[Loss, Any, Any]:
    """Check an example batch, and all targets where they are in memory; return the loss made ready for this data.

    Returns:
        (loss, output, target): the specialised loss and the example it was checked on. Of a loss over tokens the
        example is one row, and its shift is the model's own where the data are dicts with ``labels``.
    """
    source.check()
    batch = source.first()
    parts = whole = split(batch)
    if is_token_loss(loss):
        parts = example(parts, loss, vocabulary_of(model))
    output, target = example_output(model, parts, precision), parts.target
    if target is None:
        raise ValueError(
            "Learner: the data have no targets, so there is nothing to compare the output with; pass (X, y), or dicts "
            "with 'labels'."
        )
    loss = follow_model(loss, model, batch, parts, output)
    loss.check(output, target, parts.row_weight)
    targets = None
    if isinstance(source, MemorySource):
        targets = split(source.whole()).target
    elif is_token_loss(loss):  # those of the example's other rows are known as well
        targets = whole.target
    return loss.specialise(output, target, targets if isinstance(targets, Tensor) else None), output, target

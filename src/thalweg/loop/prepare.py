"""Looking at the data before the first step, so that mistakes are found before training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..data import MemorySource, Source, Split, split
from ..data.ranked import rows_in
from ..loss import Loss
from ..metric import is_token_loss
from ..objective import Inputs, follow_model, logits_of
from .evaluate import eval_mode
from .out_of_memory import pieces_of
from .precision import Precision

__all__ = ["describe", "example_output", "example_rows", "prepare_loss", "vocabulary_of"]

_MOST = 1 << 25  # logits of the example: 128 MiB in float32


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


def example_output(model: nn.Module, parts: Split, precision: Precision, who: str = "Learner") -> Any:
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
        except torch.OutOfMemoryError:  # says nothing about the data
            raise
        except (RuntimeError, TypeError, IndexError, ValueError, AttributeError) as error:
            given = describe(parts.args if not parts.kwargs else {**parts.kwargs})
            raise ValueError(
                f"{who}: {type(model).__name__} cannot take the data: a batch's inputs are {given}; the model said: "
                f"{error}. Make the shapes and dtypes fit."
            ) from error


def prepare_loss(
    loss: Loss, model: nn.Module, source: Source, precision: Precision, who: str = "Learner"
) -> tuple[Loss, Any, Any]:
    """Check an example batch, and all targets where they are in memory; return the loss made ready for this data.

    Returns:
        (loss, output, target): the specialised loss and the example it was checked on. Of a loss over tokens the
        example is one row, and its shift is the model's own where the data are dicts with ``labels``.
    """
    source.check()
    batch = source.first()
    parts = whole = split(batch)
    if is_token_loss(loss):
        parts = example_rows(parts, loss, vocabulary_of(model))
    parts, output = _of_held_rows(model, batch, parts, precision, who)
    target = parts.target
    if target is None:
        raise ValueError(
            f"{who}: the data have no targets, so there is nothing to compare the output with; pass (X, y), or dicts "
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


def _of_held_rows(model: nn.Module, batch: Any, parts: Split, precision: Precision, who: str) -> tuple[Split, Any]:
    """Return the example and its output, from fewer rows where memory does not hold those of a whole batch."""
    while True:
        try:
            return parts, example_output(model, parts, precision, who)
        except torch.OutOfMemoryError:
            if rows_in(batch) < 2:
                raise
        batch = pieces_of(batch, 2)[0]
        parts = split(batch)


def example_rows(parts: Split, loss: Loss, classes: int | None = None) -> Split:
    """Return the first row that has a target to count, of all parts of a batch.

    The logits of one long row of a large vocabulary are more than a whole training step needs, so that its end is left
    out where every part is tokens of the targets' length.

    Args:
        parts: of a batch.
        loss: over tokens.
        classes: in the vocabulary, where it is known.
    """
    target = parts.target
    if not isinstance(target, Tensor) or target.dim() < 2:
        return parts
    counted = torch.ones_like(target, dtype=torch.bool)
    if getattr(loss, "ignore_index", None) is not None and not target.is_floating_point():
        counted = target != getattr(loss, "ignore_index")  # noqa: B009 - a loss need not have it
    rows = counted.flatten(1).any(1).nonzero()[:1, 0]
    rows = rows if len(rows) else torch.zeros(1, dtype=torch.int64, device=target.device)
    size = len(target)
    tensors = [part for part in (*parts.args, *parts.kwargs.values(), target) if isinstance(part, Tensor)]
    length: int | None = None
    if classes is not None and all(part.shape[:2] == target.shape[:2] for part in tensors):
        most = max(2, _MOST // classes)
        if target.shape[1] > most and bool(counted[rows, 1:most].any()):
            length = most

    def cut(part: Any) -> Any:
        if not isinstance(part, Tensor) or part.dim() == 0 or len(part) != size:
            return part
        taken = part.index_select(0, rows.to(part.device))
        return taken if length is None else taken[:, :length]

    weight = parts.row_weight
    return Split(
        tuple(map(cut, parts.args)),
        {name: cut(part) for name, part in parts.kwargs.items()},
        cut(target),
        cut(weight) if length is None or weight is None else weight.index_select(0, rows.to(weight.device)),
    )


def vocabulary_of(model: nn.Module) -> int | None:
    """Return the size of the vocabulary as the model's config has it, before anything is computed."""
    size = getattr(getattr(model, "config", None), "vocab_size", None)
    return size if isinstance(size, int) else None

"""Models over tokens: an example that costs little, and what becomes of the logits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from thalweg.data import Source, Split, split
from thalweg.loop import Precision, eval_mode
from thalweg.loss import Loss, Projected
from thalweg.metric import is_token_loss
from thalweg.objective import Head, Inputs, find_head, logits_of

from .held import Held

__all__ = ["HEADS", "Logits", "choose_logits", "example", "vocabulary_of"]

#: What ``head`` may be, besides the path of a layer.
HEADS = ("auto", "linear", "logits")
_MOST = 1 << 25  # logits of the example: 128 MiB in float32
# A vocabulary from which on doing without logits is also faster: CPU time of loss and gradients, 768 rows of width 128
# on one core, was 1.4 times that of making them at 65 classes, 0.85 at 512, 0.49 at 32,000.
_WIDE = 512


class Logits(NamedTuple):
    """What becomes of a model's logits.

    Attributes:
        head: the layer that is left to the loss, or None: the logits are made.
        why: in words, for the plan; empty where the loss is none over tokens.
        notice: why they are made although they are large, or empty.
    """

    head: Head | None
    why: str
    notice: str


def example(parts: Split, loss: Loss, classes: int | None = None) -> Split:
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


def choose_logits(learner: Held, loss: Loss, source: Source, precision: Precision) -> Logits:
    """Return what becomes of the model's logits in training and evaluation.

    Args:
        learner: with its ``head`` setting: ``"auto"`` leaves the head to the loss where it is found, gives the model's
            own logits, and the vocabulary is so large that this pays; ``"linear"`` or a layer's path insists;
            ``"logits"`` never does.
        loss: that will be used.
        source: of the example.
        precision: of the forward pass.

    Raises:
        ValueError: the head was asked for and cannot be left to the loss.
    """
    asked = learner.head
    if not is_token_loss(loss):
        if asked not in ("auto", "logits"):
            raise ValueError(
                f"Learner: head={asked!r} was asked for, but {type(loss).__name__} takes whole logits only; use a loss "
                "over tokens, such as 'token_cross_entropy'."
            )
        return Logits(None, "", "")
    if asked == "logits":
        return Logits(None, "made, as asked for", "")
    model = learner.module
    parts = example(split(source.first()), loss, vocabulary_of(model))
    args, kwargs = Inputs(model)(parts)
    with eval_mode(model), precision.context():
        with torch.no_grad():
            logits = logits_of(model(*args, **kwargs))
        if isinstance(logits, Projected):
            return Logits(None, "not made: the model returns its hidden states and its head", "")
        wide = isinstance(logits, Tensor) and logits.shape[-1] >= _WIDE
        if asked == "auto" and not wide:
            return Logits(None, f"made: of fewer than {_WIDE} classes that costs less than doing without them", "")
        if learner.model is not model:
            found, why = None, "torch.compile wraps the model whole, its head included"
        else:
            name = None if asked in HEADS else asked
            found, why = find_head(model, lambda: model(*args, **kwargs), logits, name)
    if found is not None and (found.softcap is None or getattr(loss, "softcap", None) is None):
        return Logits(found, why, "")
    if found is not None:
        why = f"the model caps its logits at {found.softcap:g}, and the loss caps them once more"
    if asked != "auto":
        raise ValueError(f"Learner: head={asked!r} was asked for, but {why}; use head='auto' or head='logits'.")
    return Logits(None, f"made: {why}", f"the logits are made whole: {why}")


def vocabulary_of(model: nn.Module) -> int | None:
    """Return the size of the vocabulary as the model's config has it, before anything is computed."""
    size = getattr(getattr(model, "config", None), "vocab_size", None)
    return size if isinstance(size, int) else None

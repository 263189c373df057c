"""Models over tokens: what becomes of the logits."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from thalweg.data import Source, split
from thalweg.loop import Precision, eval_mode, example_rows, vocabulary_of
from thalweg.loss import Loss, Projected
from thalweg.metric import is_token_loss
from thalweg.objective import Head, Inputs, find_head, logits_of

from .held import Held

__all__ = ["HEADS", "Logits", "choose_logits"]

#: What ``head`` may be, besides the path of a layer.
HEADS = ("auto", "linear", "logits")
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
    parts = example_rows(split(source.first()), loss, vocabulary_of(model))
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

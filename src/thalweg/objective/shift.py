"""Whether a model compares position t with label t or with label t + 1, found by asking its own loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.loss import Loss
from thalweg.metric import is_token_loss

from .inputs import Inputs, Parts, takes

__all__ = ["follow_model", "own_loss_shifts"]

_CLOSE = 1e-3


def follow_model(loss: Loss, model: nn.Module, batch: Any, parts: Parts, logits: Any) -> Loss:
    """Return the loss with the shift that the model's own loss has, for batches with ``labels``.

    A dict with ``labels`` follows its model's convention: causal models of Hugging Face's library are given labels
    equal to their inputs. Targets of (inputs, targets) are compared with the output where they stand.

    Args:
        loss: over tokens, or any other, which is returned as it is.
        model: any module.
        batch: as the data gave it.
        parts: of an example.
        logits: of the example, in evaluation mode.
    """
    if not is_token_loss(loss) or getattr(loss, "shift", True) or not isinstance(batch, Mapping):
        return loss
    if own_loss_shifts(model, parts, logits, getattr(loss, "ignore_index", None)):
        return replace(loss, shift=True)  # type: ignore[type-var]
    return loss


def own_loss_shifts(model: nn.Module, parts: Parts, logits: Tensor, ignore_index: int | None = -100) -> bool | None:
    r"""Return whether the model's own loss compares position t with label t + 1.

    Causal models of Hugging Face's library take labels equal to their inputs and shift them in their own loss;
    encoder–decoders and masked models do not. The model's loss of the example is held against both,

    .. math:: -\sum_t \log p_t(y_{t+1}) \qquad -\sum_t \log p_t(y_t),

    each divided by its own count. Where it is neither (an auxiliary loss is part of it) or both, the model's name
    decides: ``…ForCausalLM`` and ``…LMHeadModel`` shift.

    Args:
        model: any module; its loss is computed in evaluation mode, and it is left in the mode that it was in.
        parts: example rows.
        logits: of those rows, **(B, T, V)**.
        ignore_index: the label that does not count, or None.

    Returns:
        True or False; None where the model takes no labels, or has no loss of its own.
    """
    target = parts.target
    plain = getattr(model, "_orig_mod", model)
    if not isinstance(target, Tensor) or target.dim() != 2 or not isinstance(logits, Tensor):
        return None
    if not takes(plain, "labels") or logits.shape[:-1] != target.shape:
        return None
    labels = target.long() if ignore_index is None else target.long().masked_fill(target == ignore_index, -100)
    args, kwargs = Inputs(plain)(parts)
    modes = [(module, module.training) for module in plain.modules()]
    plain.eval()
    try:
        with torch.no_grad():
            output, logits = plain(*args, **{**kwargs, "labels": labels}), logits.detach()
    finally:
        for module, training in modes:
            module.training = training
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if not isinstance(loss, Tensor):
        return None
    own, aligned, shifted = float(loss.mean()), _mean(logits, labels), _mean(logits[:, :-1], labels[:, 1:])
    fits = [math.isclose(own, value, rel_tol=_CLOSE) for value in (aligned, shifted)]
    if fits[0] != fits[1]:
        return fits[1]
    return _shifts_by_name(type(plain).__name__)


def _mean(logits: Tensor, labels: Tensor) -> float:
    flat = logits.reshape(-1, logits.shape[-1]).float()
    return float(F.cross_entropy(flat, labels.reshape(-1))) if len(flat) else math.nan


def _shifts_by_name(name: str) -> bool:
    """Return what the name says.

    >>> _shifts_by_name("LlamaForCausalLM"), _shifts_by_name("T5ForConditionalGeneration")
    (True, False)
    """
    return name.endswith(("ForCausalLM", "LMHeadModel"))

"""Metrics over tokens by name, set as the loss reads its tokens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thalweg.metric.task import LossLike
from thalweg.metric.token_scores import ProjectedLike, vocabulary

if TYPE_CHECKING:
    import torchmetrics

__all__ = ["TOKENS", "is_token_loss", "make_token_metric"]

TOKENS: dict[str, str] = {
    "perplexity": "Perplexity",
    "token_accuracy": "TokenAccuracy",
    "bits_per_byte": "BitsPerByte",
    "bits_per_character": "BitsPerCharacter",
}
"""Name → class; ``"token_top5_accuracy"`` is of any number."""

_TOP = re.compile(r"token_top_?(\d+)_accuracy")
_PLAIN_TOP = re.compile(r"top_?(\d+)_accuracy")
_BYTES = 256


def is_token_loss(loss: Any) -> bool:
    """Return whether the loss reads (…, V) logits of tokens: such a loss says whether it shifts."""
    return hasattr(loss, "shift")


def make_token_metric(name: str, output: Any, target: Any, loss: LossLike) -> torchmetrics.Metric | None:
    """Return the metric over tokens called *name*, or None where the name is of no such metric.

    With a loss over tokens ``"accuracy"`` and ``"top5_accuracy"`` are those of tokens. Which targets count and the
    shift are the loss's; with a loss over classes the classes are dim 1, as torch has them.

    Raises:
        ValueError: targets that are no classes; bytes asked for where a token is none.

    >>> from types import SimpleNamespace
    >>> loss = SimpleNamespace(activation="softmax", shift=True, ignore_index=-100, predict=None)
    >>> make_token_metric("token_top5_accuracy", torch.zeros(2, 3, 50), torch.zeros(2, 3).long(), loss).top_k
    5
    """
    tokens = is_token_loss(loss)
    plain = name
    if tokens and (name in ("accuracy", "acc") or _PLAIN_TOP.fullmatch(name)):
        plain = f"token_{'accuracy' if name == 'acc' else name}"
    top = _TOP.fullmatch(plain)
    if plain not in TOKENS and top is None:
        return None
    projected = isinstance(output, ProjectedLike)
    integers = isinstance(target, Tensor) and not target.is_floating_point()
    if not integers or not (projected or (isinstance(output, Tensor) and output.dim() == target.dim() + 1)):
        raise ValueError(
            f"metric {name!r}: needs one score per class at each position and class indices as targets, and "
            f"{type(loss).__name__} has {_described(output)} for targets {_described(target)}; use it with "
            "loss='token_cross_entropy' or 'cross_entropy'."
        )
    from thalweg.metric import token_metric

    reading: dict[str, Any] = {
        "ignore_index": getattr(loss, "ignore_index", None),
        "shift": bool(getattr(loss, "shift", False)),
        "softcap": getattr(loss, "softcap", None),
        "classes_dim": -1 if tokens else 1,
        "dtype": torch.float32 if target.device.type == "mps" else torch.float64,
    }
    if top is not None:
        return token_metric.TokenAccuracy(int(top[1]), **reading)
    if plain == "bits_per_byte" and vocabulary(output, reading["classes_dim"]) > _BYTES:
        raise ValueError(
            f"metric {name!r}: the vocabulary has {vocabulary(output, reading['classes_dim'])} tokens, so that a token "
            "is no byte; pass tw.metric.BitsPerByte(token_bytes=...) with the bytes of each token, or use perplexity."
        )
    metric: torchmetrics.Metric = getattr(token_metric, TOKENS[plain])(**reading)
    return metric


def _described(value: Any) -> str:
    return f"{tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"

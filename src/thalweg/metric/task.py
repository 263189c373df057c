"""What kind of prediction a metric looks at, read from the first batch and the loss."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Classification", "LossLike", "classification", "require_numbers"]


class LossLike(Protocol):
    """What a metric needs to know of a loss; ``thalweg.loss.Loss`` has it."""

    @property
    def activation(self) -> Any: ...

    def predict(self, output: Any) -> Any: ...


class Classification(NamedTuple):
    """A classification task.

    Attributes:
        kind: ``"binary"``, ``"multiclass"`` or ``"multilabel"``.
        classes: Number of classes or labels; 2 for binary.
        ignore_index: The target value that does not count, or None.
    """

    kind: Literal["binary", "multiclass", "multilabel"]
    classes: int
    ignore_index: int | None = None


def classification(name: str, output: Any, target: Any, loss: LossLike) -> Classification:
    """Return the classification task of a batch.

    =================  =====================================================  ===========================
    activation         output                                                 task
    =================  =====================================================  ===========================
    softmax            (B, 2, ...), class indices as targets                  binary, positive is class 1
    softmax            (B, C, ...)                                            multiclass
    sigmoid            (B) or (B, 1, ...)                                     binary
    sigmoid            (B, K, ...), K > 1                                     multilabel
    none, a callable   one score per class, class indices as targets          multiclass
    none, a callable   like the target, within [0, 1], targets 0 or 1         binary or multilabel
    =================  =====================================================  ===========================

    Args:
        name: The metric's name, for the message.
        output: What the model returned for the first batch.
        target: Its targets.
        loss: The loss, or anything with ``activation`` and ``predict``.

    Raises:
        ValueError: the predictions are no classes.

    >>> from types import SimpleNamespace
    >>> classification("f1", torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), SimpleNamespace(activation="softmax"))
    Classification(kind='multiclass', classes=3, ignore_index=None)
    """
    ignored = getattr(loss, "ignore_index", None)
    if isinstance(output, Tensor) and isinstance(target, Tensor):
        if loss.activation == "softmax" and output.dim() > 1:
            return _scores(output, target, ignored)
        if loss.activation == "sigmoid":
            return _labels(output)
        prediction = loss.predict(output)
        if isinstance(prediction, Tensor):
            if prediction.dim() == target.dim() + 1 and not target.is_floating_point() and prediction.shape[1] > 1:
                return _scores(prediction, target, ignored)
            if prediction.shape == target.shape and _is_zero_or_one(target) and _is_unit(prediction):
                return _labels(prediction)
    raise ValueError(
        f"metric {name!r}: needs classes, and {type(loss).__name__} with activation {loss.activation!r} predicts "
        f"{_described(output)} for targets {_described(target)}; use a metric of numbers (mae, rmse, r2), or give "
        "the loss activation='softmax' or 'sigmoid'."
    )


def require_numbers(name: str, output: Any, target: Any, loss: LossLike) -> tuple[Tensor, Tensor]:
    """Return (prediction, target) where they can be compared number by number.

    Raises:
        ValueError: they differ in shape.
    """
    prediction = loss.predict(output)
    if isinstance(prediction, Tensor) and isinstance(target, Tensor) and prediction.shape == target.shape:
        return prediction, target
    raise ValueError(
        f"metric {name!r}: compares numbers one by one, and the prediction is {_described(prediction)} for targets "
        f"{_described(target)}; use a metric of classes (accuracy, f1, auroc), or make the shapes alike."
    )


def _scores(scores: Tensor, target: Tensor, ignored: int | None) -> Classification:
    classes = scores.shape[1]
    if classes == 2 and target.dim() == scores.dim() - 1:
        return Classification("binary", 2, ignored)
    return Classification("multiclass", classes, ignored)


def _labels(output: Tensor) -> Classification:
    labels = output.shape[1] if output.dim() > 1 else 1
    return Classification("binary", 2) if labels == 1 else Classification("multilabel", labels)


def _is_zero_or_one(target: Tensor) -> bool:
    return target.dtype == torch.bool or bool(((target == 0) | (target == 1)).all())


def _is_unit(prediction: Tensor) -> bool:
    return bool(((prediction >= 0) & (prediction <= 1)).all())


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__

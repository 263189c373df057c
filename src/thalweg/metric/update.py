"""Feeding predictions to metrics, and reading their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from thalweg.metric.task import LossLike
from thalweg.metric.token_scores import token_scores

if TYPE_CHECKING:
    import torchmetrics

__all__ = ["update", "update_all", "values"]

_KINDS: tuple[Literal["Binary", "Multiclass", "Multilabel"], ...] = ("Binary", "Multiclass", "Multilabel")


def update_all(metrics: Mapping[str, Any], loss: LossLike, output: Any, target: Any) -> None:
    """Add a batch to every metric, each fed with what it reads.

    Metrics over tokens read the output itself, which is looked through once for all of them; for the others predictions
    are made, once, and only where there are others.

    Args:
        metrics: name → metric, as ``make_all`` returns them.
        loss: whose ``predict`` makes predictions of outputs.
        output: what the model returned, or a ``Projected``.
        target: the targets of the batch.

    >>> from types import SimpleNamespace
    >>> from thalweg.metric import TokenAccuracy, Perplexity
    >>> both = {"perplexity": Perplexity(), "token_accuracy": TokenAccuracy()}
    >>> loss = SimpleNamespace(activation="softmax", predict=None)
    >>> update_all(both, loss, torch.zeros(1, 2, 4), torch.tensor([[0, 3]]))
    >>> {name: round(value, 4) for name, value in values(both).items()}
    {'perplexity': 4.0, 'token_accuracy': 0.5}
    """
    reading = [metric for metric in metrics.values() if getattr(metric, "reads_output", False)]
    for way in {metric.reading for metric in reading}:
        readers = [metric for metric in reading if metric.reading == way]
        scores = token_scores(output, target, way, ranked=any(metric.needs_rank for metric in readers))
        for metric in readers:
            metric.update(scores)
    others = [metric for metric in metrics.values() if not getattr(metric, "reads_output", False)]
    if others:
        prediction = loss.predict(output)
        for metric in others:
            update(metric, prediction, target)


def update(metric: torchmetrics.Metric | torchmetrics.MetricCollection, prediction: Any, target: Any) -> None:
    """Add a batch to *metric*, with predictions and targets in the form that torchmetrics reads.

    ==================  ============================================  ============================================
    metric              prediction                                    target
    ==================  ============================================  ============================================
    ``Binary...``       of (B, 2, ...) for targets (B, ...) the       floats (labels, also soft ones) become 1
                        second column                                 above 1/2
    ``Multiclass...``   as it is                                      probabilities (B, C, ...): their argmax
    ``Multilabel...``   as it is                                      as for binary
    of regression       float64; (B, 1) becomes (B,)                  the same
    any other           as it is                                      as it is
    ==================  ============================================  ============================================

    Row weights of the batch do not enter: every row counts once.

    Args:
        metric: A ``torchmetrics.Metric`` or ``MetricCollection``.
        prediction: What ``loss.predict`` made of the output, not the raw output.
        target: The targets of the batch.

    >>> from torchmetrics.classification import BinaryAccuracy
    >>> accuracy = BinaryAccuracy()
    >>> update(accuracy, torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0]))
    >>> accuracy.compute()
    tensor(0.5000)
    """
    if getattr(metric, "reads_output", False):
        raise TypeError(
            f"metric {type(metric).__name__}: reads scores, and got predictions made of them; call its own "
            "update(output, target), or update_all."
        )
    if isinstance(prediction, Tensor) and isinstance(target, Tensor):
        family = _family(metric)
        prediction = prediction.detach()
        if family == "regression":
            prediction, target = _numbers(prediction), _numbers(target)
        elif family in _KINDS:
            prediction, target = _classes(family, prediction, target)
    metric.update(prediction, target)


def values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of *metrics* by name, as numbers; waits for the device.

    A metric with several values (one per class, a ``MetricCollection``) gives several names.

    >>> from torchmetrics.classification import MulticlassRecall
    >>> recall = MulticlassRecall(num_classes=2, average=None)
    >>> update(recall, torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    >>> values({"recall": recall})
    {'recall_0': 0.5, 'recall_1': 1.0}
    """
    found: dict[str, float] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        if isinstance(value, Mapping):
            found |= {f"{name}_{key}": float(item) for key, item in value.items()}
        elif isinstance(value, Tensor) and value.dim():
            found |= {f"{name}_{i}": item for i, item in enumerate(value.flatten().tolist())}
        else:
            found[name] = float(value)
    return found


def _family(metric: Any) -> str:
    """Return ``"Binary"``, ``"Multiclass"``, ``"Multilabel"``, ``"regression"``, or ``""`` for any other."""
    if not hasattr(metric, "items"):
        for kind in type(metric).__mro__:
            if kind.__module__.startswith("torchmetrics.regression"):
                return "regression"
            if kind.__module__.startswith("torchmetrics.classification"):
                return next((prefix for prefix in _KINDS if kind.__name__.startswith(prefix)), "")
        return ""
    families = {_family(member) for member in metric.values()}  # a MetricCollection: one form for all its members
    return families.pop() if len(families) == 1 else ""


def _numbers(value: Tensor) -> Tensor:
    value = value.squeeze(1) if value.dim() == 2 and value.shape[1] == 1 else value
    # float64, because sums of squares over a data set lose their digits in float32; MPS has none
    return value.float() if value.device.type == "mps" else value.double()


def _classes(family: str, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if prediction.dtype in (torch.float16, torch.bfloat16):
        prediction = prediction.float()
    if family == "Binary" and prediction.dim() == target.dim() + 1 and prediction.shape[1] == 2:
        prediction = prediction[:, 1]
    if target.is_floating_point():
        alike = family == "Multiclass" and prediction.shape == target.shape
        target = target.argmax(1) if alike else (target > 0.5).long()
    elif target.dtype != torch.int64:
        target = target.long()
    return prediction, target

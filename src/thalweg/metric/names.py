"""Metrics by name: torchmetrics' objects with the task filled in.

A new name is a line in one of the tables.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from thalweg.errors import unknown_name
from thalweg.metric.task import LossLike, classification, require_numbers
from thalweg.metric.token_names import TOKENS, make_token_metric

if TYPE_CHECKING:
    import torchmetrics

__all__ = ["ALIASES", "CLASSIFICATION", "REGRESSION", "make", "make_all", "name_of"]


class Family(NamedTuple):
    """One metric of torchmetrics: the common end of its class names, and its average over classes."""

    suffix: str
    average: str | None = None
    averages: tuple[str, ...] = ()


_COUNTS = ("micro", "macro", "weighted")
_CURVES = ("macro", "weighted")

CLASSIFICATION: dict[str, Family] = {
    "accuracy": Family("Accuracy", "micro", _COUNTS),
    "f1": Family("F1Score", "macro", _COUNTS),
    "precision": Family("Precision", "macro", _COUNTS),
    "recall": Family("Recall", "macro", _COUNTS),
    "specificity": Family("Specificity", "macro", _COUNTS),
    "auroc": Family("AUROC", "macro", _CURVES),
    "average_precision": Family("AveragePrecision", "macro", _CURVES),
    "matthews_corrcoef": Family("MatthewsCorrCoef"),
    "cohen_kappa": Family("CohenKappa"),
    "exact_match": Family("ExactMatch"),
}

REGRESSION: dict[str, tuple[str, dict[str, Any]]] = {
    "mse": ("MeanSquaredError", {}),
    "rmse": ("MeanSquaredError", {"squared": False}),
    "mae": ("MeanAbsoluteError", {}),
    "mape": ("MeanAbsolutePercentageError", {}),
    "r2": ("R2Score", {}),
    "explained_variance": ("ExplainedVariance", {}),
    "pearson": ("PearsonCorrCoef", {}),
    "spearman": ("SpearmanCorrCoef", {}),
}
_DIMENSIONS = {"r2": 2, "explained_variance": 2, "pearson": 1, "spearman": 1}  # (B, 1) counts as one

# What Keras and scikit-learn call them.
ALIASES: dict[str, str] = {
    "acc": "accuracy",
    "f1_score": "f1",
    "auc": "auroc",
    "roc_auc": "auroc",
    "mcc": "matthews_corrcoef",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "r2_score": "r2",
}

_TOP = re.compile(r"top_?(\d+)_accuracy")


def make(obj: Any, output: Any, target: Any, loss: LossLike) -> torchmetrics.Metric | torchmetrics.MetricCollection:
    r"""Return a metric by its name, or *obj* as one.

    Task and number of classes are read from the first batch and the loss (see ``classification``);
    ``loss.ignore_index`` is passed on. Over several classes ``accuracy`` is micro (the share of right answers; for
    several labels the share of right labels), ``f1``, ``precision``, ``recall``, ``specificity``, ``auroc`` and
    ``average_precision`` are macro (the plain mean over classes); ``"f1_micro"``, ``"f1_weighted"`` and so on say
    otherwise, in scikit-learn's words. ``"top5_accuracy"`` counts a row as right when its class is among the five
    with the highest scores.

    Over tokens there are ``perplexity``, ``token_accuracy``, ``token_top5_accuracy``, ``bits_per_byte`` and
    ``bits_per_character``; with a loss over tokens ``accuracy`` and ``top5_accuracy`` are those of tokens.

    ``auroc``, ``average_precision`` and ``spearman`` keep every prediction until they are computed.

    Args:
        obj: A name in ``CLASSIFICATION``, ``REGRESSION``, ``TOKENS`` or ``ALIASES``; a ``torchmetrics.Metric`` or
            ``MetricCollection``, used as it is (moved to the output's device); or a callable ``fn(prediction,
            target)`` that returns (B,) numbers or their mean.
        output: What the model returned for the first batch.
        target: Its targets.
        loss: The loss: its ``predict`` makes predictions of outputs.

    Returns:
        The metric, to be fed by ``update_all``, or with ``update(metric, loss.predict(output), target)`` where it is
        none over tokens.

    Raises:
        ValueError: an unknown name; a metric of classes for numbers, or of numbers for classes.
        TypeError: an object that is no metric.

    >>> from types import SimpleNamespace
    >>> loss = SimpleNamespace(activation="softmax", predict=lambda output: output.softmax(1))
    >>> make("accuracy", torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), loss)
    MulticlassAccuracy()
    """
    device = output.device if isinstance(output, Tensor) else torch.device("cpu")
    if isinstance(obj, str):
        return _named(obj, output, target, loss).to(device)
    import torchmetrics

    if isinstance(obj, torchmetrics.Metric | torchmetrics.MetricCollection):
        if type(obj).__module__ == "torchmetrics.text.perplexity":
            raise TypeError(
                "metric Perplexity: takes scores, and predictions have been through a softmax; use the name "
                "'perplexity', which also knows of shifts and of logits that are not made."
            )
        return obj.to(device)
    if callable(obj) and not isinstance(obj, type):
        from thalweg.metric.function import FunctionMetric

        return FunctionMetric(obj, device)
    kind = obj.__name__ if isinstance(obj, type) else type(obj).__name__
    raise TypeError(
        f"metric: got {'the class ' if isinstance(obj, type) else ''}{kind}; pass a name (accuracy, f1, mae, ...), an "
        f"instance of a torchmetrics metric, or a function of (prediction, target)."
    )


def make_all(
    metrics: Mapping[str, Any] | Iterable[Any] | str | None, output: Any, target: Any, loss: LossLike
) -> dict[str, torchmetrics.Metric | torchmetrics.MetricCollection]:
    """Return all *metrics* by the name to show.

    Args:
        metrics: Names and objects, or a dict that gives them names.
        output: What the model returned for the first batch.
        target: Its targets.
        loss: The loss.

    Raises:
        ValueError: two metrics of one name, or one named "loss"; and what ``make`` raises.

    >>> make_all(["mae", "mae"], torch.zeros(2), torch.zeros(2), None)
    Traceback (most recent call last):
    ...
    ValueError: metrics: two are named 'mae'; pass a dict {name: metric} to tell them apart.
    """
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        named = [(str(name), metric) for name, metric in metrics.items()]
    else:
        listed = [metrics] if isinstance(metrics, str) else list(metrics)
        named = [(name_of(metric), metric) for metric in listed]
    seen: set[str] = set()
    for name, _ in named:
        if name in seen:
            raise ValueError(f"metrics: two are named {name!r}; pass a dict {{name: metric}} to tell them apart.")
        if name == "loss":
            raise ValueError("metrics: one is named 'loss', which is the name of the loss itself; choose another name.")
        seen.add(name)
    return {name: make(metric, output, target, loss) for name, metric in named}


def name_of(obj: Any) -> str:
    """Return the name under which a metric is shown.

    >>> from torchmetrics.classification import MulticlassF1Score
    >>> name_of("accuracy"), name_of(MulticlassF1Score(num_classes=3)), name_of(len)
    ('accuracy', 'f1_score', 'len')
    """
    if isinstance(obj, str):
        return obj
    name = getattr(obj, "__name__", None)
    if name is not None:
        return "metric" if name == "<lambda>" else str(name)
    bare = re.sub(r"^(Binary|Multiclass|Multilabel)(?=[A-Z])", "", type(obj).__name__)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", bare).lower()


def _known() -> list[str]:
    return [*CLASSIFICATION, *REGRESSION, *TOKENS, "top5_accuracy", "token_top5_accuracy"]


def _named(name: str, output: Any, target: Any, loss: LossLike) -> torchmetrics.Metric:
    tokens = make_token_metric(name, output, target, loss)
    if tokens is not None:
        return tokens
    plain = ALIASES.get(name, name)
    if plain in REGRESSION:
        return _regression(name, plain, output, target, loss)
    top = _TOP.fullmatch(plain)
    base, _, average = plain.rpartition("_")
    base = ALIASES.get(base, base)
    if plain in CLASSIFICATION:
        family = CLASSIFICATION[plain]
        return _classification(name, family, family.average, 1, output, target, loss)
    if top is not None:
        return _classification(name, CLASSIFICATION["accuracy"], "micro", int(top[1]), output, target, loss)
    if base in CLASSIFICATION and average in CLASSIFICATION[base].averages:
        return _classification(name, CLASSIFICATION[base], average, 1, output, target, loss)
    error = unknown_name("metrics", "metric", name, [*_known(), *ALIASES])
    raise ValueError(f"{str(error).split(' Known: ')[0]} Known: {', '.join(sorted(_known()))}.")


def _regression(name: str, plain: str, output: Any, target: Any, loss: LossLike) -> torchmetrics.Metric:
    import torchmetrics.regression

    prediction, _ = require_numbers(name, output, target, loss)
    dims = prediction.dim() - (prediction.dim() == 2 and prediction.shape[1] == 1)
    if dims > _DIMENSIONS.get(plain, dims):
        raise ValueError(
            f"metric {name!r}: takes {'one number' if _DIMENSIONS[plain] == 1 else '(B,) or (B, K)'} per row, and the "
            f"prediction is {tuple(prediction.shape)}; use mse, mae or rmse, or a function of (prediction, target)."
        )
    suffix, options = REGRESSION[plain]
    with warnings.catch_warnings():
        # make's docstring says it; a warning at every start of a run says it to nobody
        warnings.filterwarnings("ignore", message=r"Metric `SpearmanCorrcoef` will save all", category=UserWarning)
        metric: torchmetrics.Metric = getattr(torchmetrics.regression, suffix)(**options)
    return metric if prediction.device.type == "mps" else metric.set_dtype(torch.float64)


def _classification(
    name: str, family: Family, average: str | None, top: int, output: Any, target: Any, loss: LossLike
) -> torchmetrics.Metric:
    import torchmetrics.classification

    kind, classes, ignored = classification(name, output, target, loss)
    kind_name = f"{kind.capitalize()}{family.suffix}"
    built = getattr(torchmetrics.classification, kind_name, None)
    if built is None:
        raise ValueError(
            f"metric {name!r}: is not defined for a {kind} task ({classes} "
            f"{'labels' if kind == 'multilabel' else 'classes'}); use accuracy or f1."
        )
    # the loss has looked at the same targets, and torchmetrics' own validation waits for the device at every batch
    options: dict[str, Any] = {"ignore_index": ignored, "validate_args": False}
    if kind != "binary":
        options["num_classes" if kind == "multiclass" else "num_labels"] = classes
        if average is not None:
            options["average"] = average
    if top > 1:
        if kind != "multiclass" or top >= classes:
            raise ValueError(
                f"metric {name!r}: needs more than {top} exclusive classes, and there are {classes} "
                f"{'labels' if kind == 'multilabel' else 'classes'}; use accuracy."
            )
        options["top_k"] = top
    metric: torchmetrics.Metric = built(**options)
    return metric

"""What is accepted as a metric, under which name it is shown, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import torch
import torchmetrics
from torch import Tensor, nn
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy, MulticlassF1Score

from thalweg import loss as losses
from thalweg import metric as metrics

CE, MSE, BCE = losses.CrossEntropy(), losses.MSE(), losses.BinaryCrossEntropy()
SCORES, CLASSES = (
    torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0], [2.0, 0.0, 0.0]]),
    torch.tensor([0, 1, 0, 0]),
)


def error(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).abs()


def mean_error(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).abs().mean()


def test_importing_metric_does_not_import_torchmetrics() -> None:
    code = "import sys, thalweg.metric; sys.exit('torchmetrics' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", [*metrics.CLASSIFICATION, *metrics.REGRESSION, *metrics.ALIASES])
def test_every_name_makes_a_metric_that_computes(name: str) -> None:
    if metrics.ALIASES.get(name, name) in metrics.REGRESSION:
        loss, output, target = MSE, torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 3.0, 3.5])
    elif name == "exact_match":
        loss, output, target = BCE, torch.tensor([[1.0, -1.0], [2.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    else:
        loss, output, target = CE, SCORES[:, :2], torch.tensor([0, 1, 1, 0])
    metric = metrics.make(name, output, target, loss)
    assert isinstance(metric, torchmetrics.Metric)
    metrics.update(metric, loss.predict(output), target)
    (value,) = metrics.values({name: metric}).values()
    assert value == value  # not NaN
    metric.reset()


@pytest.mark.parametrize("fn", [error, mean_error], ids=["rows", "mean"])
def test_functions_are_means_over_rows(fn: Any) -> None:
    output, target = torch.tensor([1.0, 2.0, 6.0]), torch.zeros(3)
    metric = metrics.make(fn, output, target, MSE)
    metrics.update(metric, output[:2], target[:2])
    metrics.update(metric, output[2:], target[2:])
    assert float(metric.compute()) == 3.0
    metric.reset()
    metrics.update(metric, output[:1], target[:1])
    assert float(metric.compute()) == 1.0


@pytest.mark.parametrize(
    ("fn", "kind", "message"),
    [
        (lambda p, y: "good", TypeError, "returned str; return a tensor of (B,) numbers, or their mean"),
        (lambda p, y: torch.ones(5), ValueError, "returned shape (5,) for a batch of 3 rows"),
    ],
    ids=["text", "shape"],
)
def test_functions_that_return_something_else(fn: Any, kind: type[Exception], message: str) -> None:
    metric = metrics.make(fn, torch.zeros(3), torch.zeros(3), MSE)
    with pytest.raises(kind, match=re.escape(message)):
        metrics.update(metric, torch.zeros(3), torch.zeros(3))


def test_objects_are_used_as_they_are() -> None:
    metric = MulticlassAccuracy(num_classes=3)
    assert metrics.make(metric, SCORES, CLASSES, CE) is metric
    metrics.update(metric, CE.predict(SCORES), CLASSES.to(torch.uint8))
    # a macro average, as the object was built: right in 2 of 3, 1 of 1, and never for class 2, which was only predicted
    assert float(metric.compute()) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_a_users_subclass_is_fed_as_its_parent() -> None:
    class Mine(BinaryAccuracy):
        pass

    metric = Mine()
    metrics.update(metric, torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0.0, 1.0]))
    assert float(metric.compute()) == 1.0


def test_collections() -> None:
    collection = torchmetrics.MetricCollection([MulticlassAccuracy(3), MulticlassF1Score(3, average=None)])
    assert metrics.make(collection, SCORES, CLASSES, CE) is collection
    soft = nn.functional.one_hot(CLASSES, 3).float()
    metrics.update(collection, CE.predict(SCORES), soft)
    collection = torchmetrics.MetricCollection([MulticlassAccuracy(3)])
    metrics.update(collection, CE.predict(SCORES), CLASSES)
    assert metrics.values({"all": collection}) == {"all_MulticlassAccuracy": pytest.approx(5 / 9)}


def test_a_metric_with_several_values() -> None:
    metric = MulticlassAccuracy(3, average=None)
    metrics.update(metric, CE.predict(SCORES), CLASSES)
    assert metrics.values({"acc": metric}) == {"acc_0": pytest.approx(2 / 3), "acc_1": 1.0, "acc_2": 0.0}


def test_names_to_show() -> None:
    given = ["accuracy", MulticlassF1Score(3), error, torchmetrics.MeanSquaredError()]
    made = metrics.make_all(given, SCORES, CLASSES, CE)
    assert list(made) == ["accuracy", "f1_score", "error", "mean_squared_error"]
    assert list(metrics.make_all({"good": "accuracy"}, SCORES, CLASSES, CE)) == ["good"]
    assert list(metrics.make_all("accuracy", SCORES, CLASSES, CE)) == ["accuracy"]
    assert metrics.make_all(None, SCORES, CLASSES, CE) == {}
    assert metrics.name_of(lambda p, y: p) == "metric"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["f1", "f1"], "metrics: two are named 'f1'; pass a dict {name: metric}"),
        ({"loss": "f1"}, "metrics: one is named 'loss', which is the name of the loss itself"),
        (["acuracy"], "metrics: unknown metric 'acuracy'. Did you mean 'accuracy'? Known: accuracy,"),
        (["accuracy_top"], "metrics: unknown metric 'accuracy_top'. Did you mean"),
        (["auroc_micro"], "metrics: unknown metric 'auroc_micro'. Did you mean"),
    ],
    ids=str,
)
def test_bad_names(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        metrics.make_all(given, SCORES, CLASSES, CE)


@pytest.mark.parametrize(
    ("name", "output", "target", "loss", "message"),
    [
        (
            "accuracy",
            torch.randn(4),
            torch.randn(4),
            MSE,
            "metric 'accuracy': needs classes, and MSE with activation 'none' predicts (4,) float32",
        ),
        ("f1", 10 * torch.ones(4), torch.ones(4), MSE, "use a metric of numbers (mae, rmse, r2)"),
        ("accuracy", (SCORES, SCORES), CLASSES, CE, "predicts tuple for targets (4,) int64"),
        (
            "mae",
            SCORES,
            CLASSES,
            CE,
            "metric 'mae': compares numbers one by one, and the prediction is (4, 3) float32 for targets (4,) int64",
        ),
        ("r2", torch.zeros(4, 2, 3), torch.zeros(4, 2, 3), MSE, "metric 'r2': takes (B,) or (B, K) per row"),
        (
            "pearson",
            torch.zeros(4, 2),
            torch.zeros(4, 2),
            MSE,
            "metric 'pearson': takes one number per row, and the prediction is (4, 2)",
        ),
        (
            "top5_accuracy",
            SCORES,
            CLASSES,
            CE,
            "metric 'top5_accuracy': needs more than 5 exclusive classes, and there are 3 classes",
        ),
        ("top2_accuracy", torch.zeros(4, 3), torch.zeros(4, 3), BCE, "there are 3 labels; use accuracy"),
        (
            "cohen_kappa",
            torch.zeros(4, 3),
            torch.zeros(4, 3),
            BCE,
            "metric 'cohen_kappa': is not defined for a multilabel task (3 labels)",
        ),
        (
            "exact_match",
            SCORES[:, :2],
            CLASSES,
            CE,
            "metric 'exact_match': is not defined for a binary task (2 classes)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_metrics_that_do_not_fit(name: str, output: Any, target: Tensor, loss: losses.Loss, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        metrics.make(name, output, target, loss)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MulticlassAccuracy, "metric: got the class MulticlassAccuracy; pass a name"),
        (3, "metric: got int; pass a name"),
    ],
    ids=["class", "number"],
)
def test_no_metric_at_all(given: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        metrics.make(given, SCORES, CLASSES, CE)


@pytest.mark.parametrize(
    ("output", "target", "loss", "expected"),
    [
        (torch.zeros(4, 3), CLASSES, CE, ("multiclass", 3, -100)),
        (torch.zeros(4, 2), CLASSES, losses.CrossEntropy(ignore_index=None), ("binary", 2, None)),
        (torch.zeros(4, 2), torch.zeros(4, 2), CE, ("multiclass", 2, -100)),
        (torch.zeros(4), torch.zeros(4), BCE, ("binary", 2, None)),
        (torch.zeros(4, 1, 5), torch.zeros(4, 1, 5), BCE, ("binary", 2, None)),
        (torch.zeros(4, 5), torch.zeros(4, 5), BCE, ("multilabel", 5, None)),
        (torch.zeros(4, 5), torch.zeros(4, 5, dtype=torch.bool), losses.adapt(nn.BCELoss()), ("multilabel", 5, None)),
        (SCORES, CLASSES, losses.adapt(nn.MultiMarginLoss()), ("multiclass", 3, None)),
    ],
)
def test_the_task_is_read_from_the_batch(output: Tensor, target: Tensor, loss: losses.Loss, expected: Any) -> None:
    assert tuple(metrics.classification("f1", output, target, loss)) == expected

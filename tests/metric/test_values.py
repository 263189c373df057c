"""Metrics by name against scikit-learn, fed in batches with the predictions of a loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from scipy import stats
from torch import Tensor, nn

from thalweg import loss as losses
from thalweg import metric as metrics

Reference = Callable[[np.ndarray, np.ndarray], float]

# torchmetrics counts in float32: ratios of counts of a few hundred rows
COUNTS = 1e-6


def fed(name: Any, loss: losses.Loss, output: Tensor, target: Tensor, batch: int = 37) -> float:
    metric = metrics.make(name, output[:batch], target[:batch], loss)
    for start in range(0, len(output), batch):
        part = slice(start, start + batch)
        metrics.update(metric, loss.predict(output[part]), target[part])
    return metrics.values({"it": metric})["it"]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def multiclass() -> tuple[Tensor, Tensor]:
    target = torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(1))
    return draw(200, 4) + 1.5 * nn.functional.one_hot(target, 4), target


def binary() -> tuple[Tensor, Tensor]:
    target = (torch.rand(200, generator=torch.Generator().manual_seed(1)) < 0.3).long()
    return draw(200) + 2 * target - 1, target


MULTICLASS: list[tuple[str, Reference]] = [
    ("accuracy", lambda p, y: sk.accuracy_score(y, p.argmax(1))),
    ("top2_accuracy", lambda p, y: sk.top_k_accuracy_score(y, p, k=2)),
    ("f1", lambda p, y: sk.f1_score(y, p.argmax(1), average="macro")),
    ("f1_weighted", lambda p, y: sk.f1_score(y, p.argmax(1), average="weighted")),
    ("f1_micro", lambda p, y: sk.f1_score(y, p.argmax(1), average="micro")),
    ("precision", lambda p, y: sk.precision_score(y, p.argmax(1), average="macro")),
    ("recall", lambda p, y: sk.recall_score(y, p.argmax(1), average="macro")),
    ("accuracy_macro", lambda p, y: sk.balanced_accuracy_score(y, p.argmax(1))),
    ("auroc", lambda p, y: sk.roc_auc_score(y, p, multi_class="ovr", average="macro")),
    ("roc_auc_weighted", lambda p, y: sk.roc_auc_score(y, p, multi_class="ovr", average="weighted")),
    ("average_precision", lambda p, y: sk.average_precision_score(y, p, average="macro")),
    ("mcc", lambda p, y: sk.matthews_corrcoef(y, p.argmax(1))),
    ("cohen_kappa", lambda p, y: sk.cohen_kappa_score(y, p.argmax(1))),
]

BINARY: list[tuple[str, Reference]] = [
    ("accuracy", lambda p, y: sk.accuracy_score(y, p > 0.5)),
    ("f1", lambda p, y: sk.f1_score(y, p > 0.5)),
    ("precision", lambda p, y: sk.precision_score(y, p > 0.5)),
    ("recall", lambda p, y: sk.recall_score(y, p > 0.5)),
    ("specificity", lambda p, y: sk.recall_score(y, p > 0.5, pos_label=0)),
    ("auroc", lambda p, y: sk.roc_auc_score(y, p)),
    ("average_precision", lambda p, y: sk.average_precision_score(y, p)),
    ("matthews_corrcoef", lambda p, y: sk.matthews_corrcoef(y, p > 0.5)),
]

MULTILABEL: list[tuple[str, Reference]] = [
    ("accuracy", lambda p, y: float(((p > 0.5) == y).mean())),
    ("exact_match", lambda p, y: sk.accuracy_score(y, p > 0.5)),
    ("f1", lambda p, y: sk.f1_score(y, p > 0.5, average="macro")),
    ("f1_micro", lambda p, y: sk.f1_score(y, p > 0.5, average="micro")),
    ("auroc", lambda p, y: sk.roc_auc_score(y, p, average="macro")),
]

REGRESSION: list[tuple[str, Reference]] = [
    ("mse", lambda p, y: sk.mean_squared_error(y, p)),
    ("rmse", lambda p, y: sk.root_mean_squared_error(y.ravel(), p.ravel())),
    ("mae", lambda p, y: sk.mean_absolute_error(y, p)),
    ("mape", lambda p, y: sk.mean_absolute_percentage_error(y, p)),
    ("r2", lambda p, y: sk.r2_score(y, p)),
    ("explained_variance", lambda p, y: sk.explained_variance_score(y, p)),
]


@pytest.mark.parametrize(("name", "reference"), MULTICLASS, ids=[name for name, _ in MULTICLASS])
def test_multiclass(name: str, reference: Reference) -> None:
    output, target = multiclass()
    expected = reference(output.softmax(1).numpy(), target.numpy())
    assert fed(name, losses.CrossEntropy(), output, target) == pytest.approx(expected, abs=COUNTS)


@pytest.mark.parametrize(("name", "reference"), BINARY, ids=[name for name, _ in BINARY])
@pytest.mark.parametrize("form", ["sigmoid", "column", "float-labels", "softmax", "probabilities"])
def test_binary_however_it_is_put(name: str, reference: Reference, form: str) -> None:
    """One logit, a column of them, two logits under softmax, and probabilities: the same problem, the same number."""
    logit, target = binary()
    expected = reference(logit.sigmoid().numpy(), target.numpy())
    loss: losses.Loss = losses.BinaryCrossEntropy()
    output, targets = logit, target
    if form == "column":
        output, targets = logit[:, None], target[:, None]
    elif form == "float-labels":
        targets = target.float()
    elif form == "softmax":
        loss, output = losses.CrossEntropy(), torch.stack([torch.zeros_like(logit), logit], 1)
    elif form == "probabilities":
        loss, output, targets = losses.adapt(nn.BCELoss()), logit.sigmoid(), target.float()
    assert fed(name, loss, output, targets) == pytest.approx(expected, abs=COUNTS)


@pytest.mark.parametrize(("name", "reference"), MULTILABEL, ids=[name for name, _ in MULTILABEL])
def test_multilabel(name: str, reference: Reference) -> None:
    output = draw(150, 3)
    target = (output + draw(150, 3).flip(0) > 0.3).float()
    expected = reference(output.sigmoid().numpy(), target.numpy())
    assert fed(name, losses.BinaryCrossEntropy(), output, target) == pytest.approx(expected, abs=COUNTS)


@pytest.mark.parametrize(("name", "reference"), REGRESSION, ids=[name for name, _ in REGRESSION])
@pytest.mark.parametrize("shape", [(), (1,), (3,)], ids=["rows", "column", "columns"])
def test_regression_far_from_zero(name: str, reference: Reference, shape: tuple[int, ...]) -> None:
    """Targets around 10,000 with a spread of 1 leave float32 sums of squares without a digit."""
    target = 10_000 + draw(200, *shape)
    output = target + 0.3 * draw(200, *shape).flip(0)
    expected = reference(output.double().numpy(), target.double().numpy())
    assert fed(name, losses.MSE(), output, target) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("name", "reference"), [("pearson", stats.pearsonr), ("spearman", stats.spearmanr)])
def test_correlations(name: str, reference: Callable[..., Any]) -> None:
    target = draw(200)
    output = target + draw(200).flip(0)  # every value twice: ties share their rank
    expected = reference(output.double().numpy(), target.double().numpy()).statistic
    assert fed(name, losses.MAE(), output, target) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["accuracy", "f1", "auroc"])
@pytest.mark.parametrize("classes", [2, 4])
def test_ignored_targets_do_not_count(name: str, classes: int) -> None:
    output, target = multiclass()
    output, target = output[:, :classes], target % classes
    ignored = torch.arange(200) % 3 == 0
    loss = losses.CrossEntropy(ignore_index=-1)
    masked = fed(name, loss, output, target.masked_fill(ignored, -1))
    assert masked == pytest.approx(fed(name, losses.CrossEntropy(), output[~ignored], target[~ignored]), abs=COUNTS)
    assert masked != pytest.approx(fed(name, losses.CrossEntropy(), output, target), abs=COUNTS)


def test_summed_losses_pass_their_ignore_index_on() -> None:
    output, target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, -1])
    assert fed("accuracy", losses.Total(losses.CrossEntropy(ignore_index=-1)), output, target) == 1.0


def test_probability_targets_count_as_their_largest() -> None:
    output, target = multiclass()
    soft = 0.9 * nn.functional.one_hot(target, 4).float() + 0.025
    loss = losses.CrossEntropy()
    assert fed("accuracy", loss, output, soft) == fed("accuracy", loss, output, target)
    assert fed("accuracy", loss, output[:, :2], soft[:, :2]) == pytest.approx(
        float((output[:, :2].argmax(1) == soft[:, :2].argmax(1)).float().mean())
    )


def test_images() -> None:
    output = draw(20, 3, 4, 5)
    target = torch.randint(0, 3, (20, 4, 5), generator=torch.Generator().manual_seed(1))
    expected = float((output.argmax(1) == target).float().mean())
    assert fed("accuracy", losses.CrossEntropy(), output, target) == pytest.approx(expected, abs=COUNTS)
    expected = sk.f1_score(target.flatten(), output.argmax(1).flatten(), average="macro")
    assert fed("f1", losses.CrossEntropy(), output, target) == pytest.approx(expected, abs=COUNTS)


def test_class_scores_without_an_activation() -> None:
    output, target = multiclass()
    expected = sk.accuracy_score(target, output.argmax(1))
    assert fed("accuracy", losses.adapt(nn.MultiMarginLoss()), output, target) == pytest.approx(expected, abs=COUNTS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_output_dtype(dtype: torch.dtype) -> None:
    output, target = multiclass()
    output = (4 * output).round().to(dtype)  # the same in every dtype
    expected = sk.roc_auc_score(target, output.double().softmax(1), multi_class="ovr", average="macro")
    assert fed("auroc", losses.CrossEntropy(), output, target) == pytest.approx(expected, abs=5e-3)
    assert fed("accuracy", losses.CrossEntropy(), output, target.int()) == pytest.approx(
        sk.accuracy_score(target, output.double().argmax(1)), abs=0.02
    )


def test_nothing_is_said_while_feeding() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output, target = multiclass()
        fed("accuracy", losses.CrossEntropy(), output.requires_grad_(), target)

"""A softmax or sigmoid inside the model is noticed; logits are not mistaken for one."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from thalweg import loss as tl


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 2), (16, 1000), (4, 10, 3, 3)])
def test_a_softmax_looks_like_probabilities(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    assert tl.looks_like_probabilities(torch.randn(shape).softmax(1).to(dtype))


@pytest.mark.parametrize(
    "output",
    [
        torch.zeros(8, 4),
        torch.rand(8, 4),
        torch.randn(8, 4).log_softmax(1),
        torch.ones(8, 1),
        torch.ones(8),
        torch.ones(0, 4),
    ],
    ids=["zeros", "uniform", "log-softmax", "one-column", "one-dim", "empty"],
)
def test_other_outputs_do_not(output: torch.Tensor) -> None:
    assert not tl.looks_like_probabilities(output)


def test_cross_entropy_says_so() -> None:
    model = nn.Sequential(nn.Linear(5, 3), nn.Softmax(dim=1))
    with pytest.warns(
        UserWarning, match="CrossEntropy: every row of the output is non-negative and sums to 1.*return the logits"
    ):
        tl.CrossEntropy().check(model(torch.randn(8, 5)), torch.zeros(8, dtype=torch.long))


def test_cross_entropy_is_silent_on_logits() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tl.CrossEntropy().check(torch.zeros(8, 3), torch.zeros(8, dtype=torch.long))


@pytest.mark.parametrize("tail", [nn.Identity(), nn.Flatten(0)], ids=["as-is", "flattened"])
def test_binary_cross_entropy_says_so(tail: nn.Module) -> None:
    output = nn.Sequential(nn.Linear(5, 1), nn.Sigmoid(), tail)(torch.randn(8, 5))
    for loss in (tl.BinaryCrossEntropy(), tl.adapt(nn.BCEWithLogitsLoss(pos_weight=torch.ones(1)))):
        with pytest.warns(UserWarning, match="the model ends in a sigmoid, and B.* applies one itself"):
            loss.check(output, torch.zeros_like(output))


def test_binary_cross_entropy_is_silent_on_logits_within_0_and_1() -> None:
    output = nn.Linear(5, 1)(torch.zeros(8, 5)).abs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tl.BinaryCrossEntropy().check(output, torch.zeros(8, 1))
        tl.BinaryCrossEntropy().check(output.detach(), torch.zeros(8, 1))


def test_nll_notices_probabilities_as_not_logarithms() -> None:
    with pytest.warns(UserWarning, match="NLL: the output holds 0.75") as seen:
        tl.NLL().check(torch.tensor([[0.25, 0.75]]), torch.tensor([0]))
    assert len(seen) == 1


def test_nll_notices_raw_scores() -> None:
    with pytest.warns(
        UserWarning, match="NLL: the output holds 3, and a log-probability is at most 0.*use cross_entropy"
    ):
        tl.NLL().check(torch.tensor([[3.0, 0.0]]), torch.tensor([0]))

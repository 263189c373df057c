"""What a loss learns before the first step, and what a step then costs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from thalweg import loss as tl


class Operations(TorchDispatchMode):
    """Names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def operations(loss: tl.Loss, output: Tensor, target: Tensor) -> list[str]:
    with Operations() as seen:
        loss(output, target)
    return seen.names


def test_nothing_to_ignore_makes_the_weight_an_int_and_saves_the_count() -> None:
    output, target = torch.randn(6, 3), torch.randint(0, 3, (6,))
    targets = torch.randint(0, 3, (60,))
    loss = tl.CrossEntropy()
    assert operations(loss, output, target) == ["_log_softmax", "nll_loss_forward", "ne", "sum"]
    special = loss.specialise(output, target, targets)
    assert operations(special, output, target) == ["_log_softmax", "nll_loss_forward"]
    assert special(output, target)[1] == 6


def test_something_to_ignore_keeps_the_count() -> None:
    output, target = torch.randn(6, 3), torch.randint(0, 3, (6,))
    targets = torch.tensor([0, 1, -100])
    _, weight = tl.CrossEntropy().specialise(output, target, targets)(output, targets.repeat(2))
    assert isinstance(weight, Tensor)
    assert int(weight) == 4


def test_a_certificate_can_be_taken_back() -> None:
    output, target = torch.randn(2, 3), torch.tensor([0, 1])
    dense = tl.CrossEntropy().specialise(output, target, target)
    again = dense.specialise(output, target, torch.tensor([0, -100]))
    assert dense(output, target)[1] == 2
    assert int(again(output, torch.tensor([0, -100]))[1]) == 1


def test_without_targets_nothing_is_certified() -> None:
    output, target = torch.randn(2, 3), torch.tensor([0, 1])
    assert isinstance(tl.CrossEntropy().specialise(output, target)(output, target)[1], Tensor)


@pytest.mark.parametrize(
    "loss",
    [tl.CrossEntropy(class_weight=[1, 2, 3]), tl.BinaryCrossEntropy(pos_weight=[1, 2, 3])],
    ids=["class_weight", "pos_weight"],
)
def test_constants_are_converted_once(loss: tl.Loss) -> None:
    output = torch.randn(2, 3)
    target = torch.tensor([0, 1]) if isinstance(loss, tl.CrossEntropy) else torch.ones(2, 3)
    assert "_to_copy" in operations(loss, output, target)
    assert "_to_copy" not in operations(loss.specialise(output, target), output, target)


@pytest.mark.parametrize(
    ("loss", "operation"),
    [
        (tl.MSE(), "mse_loss"),
        (tl.Huber(), "huber_loss"),
        (tl.BinaryCrossEntropy(), "binary_cross_entropy_with_logits"),
    ],
    ids=["mse", "huber", "bce"],
)
def test_elementwise_losses_are_one_operation(loss: tl.Loss, operation: str) -> None:
    assert operations(loss, torch.randn(4, 2), torch.ones(4, 2)) == [operation]


def test_all_targets_are_looked_through_before_training() -> None:
    output, target = torch.randn(2, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"CrossEntropy: target holds class 7 at row 3, and the output has 3 classes"):
        tl.CrossEntropy().specialise(output, target, torch.tensor([0, 1, 2, 7]))
    with pytest.raises(ValueError, match=r"MSE: target holds nan at row 2 \(1 of 3 values"):
        tl.MSE().specialise(torch.zeros(1), torch.zeros(1), torch.tensor([0.0, 1.0, float("nan")]))
    with pytest.raises(ValueError, match=r"SmoothL1Loss: target holds inf at row 1"):
        tl.adapt(nn.SmoothL1Loss()).specialise(torch.zeros(1), torch.zeros(1), torch.tensor([0.0, float("inf")]))


def test_adapted_buffers_follow_the_output() -> None:
    loss = tl.adapt(nn.MultiLabelSoftMarginLoss(weight=torch.ones(3, dtype=torch.float64)))
    special = loss.specialise(torch.zeros(2, 3), torch.zeros(2, 3))
    assert special(torch.zeros(2, 3), torch.zeros(2, 3))[0].dtype == torch.float32
    assert special.activation == loss.activation

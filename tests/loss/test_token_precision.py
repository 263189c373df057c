"""Token losses in half precision, at extremes, and under autocast."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.loss.token_cases import CASES, TokenCase
from thalweg import loss as tl

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def gradient_of(logits: Tensor, target: Tensor) -> Tensor:
    leaf = logits.double().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(leaf, target, reduction="sum"), leaf)[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("linear", [True, False], ids=["head", "logits"])
def test_extreme_logits_stay_finite_and_right(dtype: torch.dtype, linear: bool) -> None:
    """Logits of ±1e4: the head is the identity, so that no product rounds and float64 is the reference."""
    big = torch.tensor([1e4, -1e4, 0.0, 3.0], dtype=dtype)
    hidden = torch.stack([big, big.roll(1), -big, torch.full_like(big, 1e4), torch.full_like(big, -1e4), big / 1e4])
    target = torch.tensor([0, 0, 2, 1, 3, 2])
    leaf, head = hidden.clone().requires_grad_(), torch.eye(4, dtype=dtype, requires_grad=True)
    output = tl.Projected(leaf, head) if linear else leaf
    total, weight = tl.TokenCrossEntropy()(output, target)
    assert total.dtype == torch.float32
    wanted = F.cross_entropy(hidden.double(), target, reduction="sum")
    # a sum of 3e4 in float32; the row whose target is 1e4 below the largest is what makes it
    torch.testing.assert_close(total.double(), wanted, rtol=2e-7, atol=0)
    assert int(weight) == 6
    gradients = torch.autograd.grad(total, (leaf, head) if linear else (leaf,))
    assert all(torch.isfinite(gradient).all() and gradient.dtype == dtype for gradient in gradients)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(gradients[0].double(), gradient_of(hidden, target), rtol=2 * eps, atol=2 * eps)


@every_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_is_that_of_its_products(case: TokenCase, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(4)
    hidden, weight = torch.randn(6, 8, generator=g).to(dtype), (0.3 * torch.randn(11, 8, generator=g)).to(dtype)
    labels, teacher = torch.tensor([1, 5, -100, 10, 0, 5]), torch.randn(6, 11, generator=g)
    labels = labels if case.masks else labels.abs() % 11
    target = case.target(labels, teacher)
    half = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    exact = [hidden.double().requires_grad_(), weight.double().requires_grad_()]
    total, _ = case.loss(tl.Projected(*half), target)
    wanted, _ = case.loss(tl.Projected(*exact), target)
    assert total.dtype == torch.float32
    # logits and what they carry back are rounded to the dtype once each
    eps = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(total.double(), wanted, rtol=eps, atol=eps)
    for mine, reference in zip(torch.autograd.grad(total, half), torch.autograd.grad(wanted, exact), strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), reference, rtol=eps, atol=2 * eps)


def test_the_head_of_a_large_batch_is_summed_in_float32() -> None:
    """4,096 equal rows in chunks: a bfloat16 sum of the chunks would stop growing at 256 times a chunk's share."""
    hidden = torch.ones(4096, 1, dtype=torch.bfloat16)
    head = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    tl.linear_cross_entropy(hidden, head, torch.zeros(4096, dtype=torch.int64), reduction="sum").backward()
    assert head.grad is not None
    assert head.grad.flatten().tolist() == [-2048.0, 2048.0]


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_autocast_is_that_of_a_linear_layer(reduction: str) -> None:
    g = torch.Generator().manual_seed(4)
    parts = [torch.randn(6, 8, generator=g), 0.3 * torch.randn(11, 8, generator=g), torch.randn(11, generator=g)]
    labels = torch.tensor([1, 5, -100, 10, 0, 5])
    ours, theirs = ([x.clone().requires_grad_() for x in parts] for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        mine = tl.linear_cross_entropy(ours[0], ours[1], labels, ours[2], reduction=reduction).sum()  # type: ignore[arg-type]
        logits = F.linear(*theirs)
        wanted = F.cross_entropy(logits, labels, reduction=reduction).sum()
    assert logits.dtype == torch.bfloat16
    assert mine.dtype == torch.float32
    eps = 4 * torch.finfo(torch.bfloat16).eps
    torch.testing.assert_close(mine, wanted, rtol=eps, atol=eps)
    for a, b in zip(torch.autograd.grad(mine, ours), torch.autograd.grad(wanted, theirs), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=eps, atol=eps)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_of_a_sure_prediction_is_zero_with_gradient_zero(gamma: float) -> None:
    """p rounds to 1: a power below 1 has an infinite slope there, and the loss none."""
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    target = torch.tensor([0, 1])
    for output in (logits, tl.Projected(logits, torch.eye(2))):
        total, _ = tl.Focal(gamma=gamma)(output, target)
        (gradient,) = torch.autograd.grad(total, logits)
        assert total.item() == 0.0
        assert gradient.abs().max() == 0.0

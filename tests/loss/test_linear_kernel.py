"""Cross entropy by the kernel that takes products and exponentials together, against float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import thalweg as tw
from thalweg.engine.c_compiler import unavailable
from thalweg.engine.c_vocabulary import vocabulary_kernel
from thalweg.loss import linear_chunks, linear_kernel


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the kernel take small problems too, and count the chunks it takes."""
    if vocabulary_kernel() is None:
        pytest.skip(f"no kernel here: {unavailable() or 'the compiler failed'}")
    found: list[int] = []

    def counted(*args: Any) -> Tensor:
        found.append(len(args[2]))
        return linear_kernel.smoothed_rows(*args)

    monkeypatch.setattr(linear_kernel, "_LEAST_WORK", 1)
    monkeypatch.setattr(linear_kernel, "_FEWEST_ROWS", 1)
    monkeypatch.setattr(linear_chunks, "smoothed_rows", counted)
    return found


def problem(rows: int, features: int, classes: int, *, spread: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, features, generator=g).requires_grad_()
    weight = (torch.randn(classes, features, generator=g) * spread * features**-0.5).requires_grad_()
    target = torch.randint(classes, (rows,), generator=g)
    target[::7] = -100
    return hidden, weight, target


def exact(hidden: Tensor, weight: Tensor, target: Tensor, options: dict[str, Any]) -> tuple[Tensor, ...]:
    """The definition in float64: value, gradients of hidden states and weight."""
    h, w = hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    logits, keep = h @ w.t(), target >= 0
    class_weight = options.get("class_weight")
    class_weight = None if class_weight is None else class_weight.double()
    loss = F.cross_entropy(logits, target, class_weight, label_smoothing=options.get("label_smoothing", 0.0))
    if options.get("z_loss"):
        each = torch.ones(int(keep.sum()), dtype=torch.float64)
        each = each if class_weight is None else class_weight[target[keep]]
        z = logits[keep].logsumexp(-1)
        loss = loss + options["z_loss"] * (each * z * z).sum() / each.sum()
    return (loss.detach(), *torch.autograd.grad(loss, (h, w)))


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "z-loss": {"z_loss": 1e-3},
    "smoothing and z-loss": {"label_smoothing": 0.2, "z_loss": 1e-4},
    "class weights": {"class_weight": torch.linspace(0.5, 2.0, 301)},
    "class weights and z-loss": {"class_weight": torch.linspace(0.5, 2.0, 301), "z_loss": 1e-3},
}


@pytest.mark.parametrize("rows", [1, 63, 64, 200])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_it_equals_the_definition(calls: list[int], options: dict[str, Any], rows: int) -> None:
    hidden, weight, target = problem(rows + 1, 64, 301)
    loss = tw.loss.linear_cross_entropy(hidden, weight, target, **options)
    loss.backward()  # type: ignore[no-untyped-call]
    assert len(calls) == 1
    for mine, true in zip((loss, hidden.grad, weight.grad), exact(hidden, weight, target, options), strict=True):
        assert mine is not None
        torch.testing.assert_close(mine.double(), true, rtol=1e-5, atol=1e-5 * float(true.abs().max()))


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}], ids=["plain", "smoothing"])
def test_several_chunks_are_one(calls: list[int], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_chunks, "_KERNEL_BYTES", 64 * 300 * 4)
    hidden, weight, target = problem(290, 128, 300)
    loss = tw.loss.linear_cross_entropy(hidden, weight, target, **options)
    loss.backward()  # type: ignore[no-untyped-call]
    assert calls == [64, 64, 64, 56]  # the rows that are not ignored
    for mine, true in zip((loss, hidden.grad, weight.grad), exact(hidden, weight, target, options), strict=True):
        assert mine is not None
        torch.testing.assert_close(mine.double(), true, rtol=1e-5, atol=1e-5 * float(true.abs().max()))


@pytest.mark.parametrize("wanted", ["hidden", "weight"])
def test_one_gradient_alone(calls: list[int], wanted: str) -> None:
    hidden, weight, target = problem(100, 64, 200)
    both = torch.autograd.grad(tw.loss.linear_cross_entropy(hidden, weight, target), (hidden, weight))
    frozen = weight if wanted == "hidden" else hidden
    frozen.requires_grad_(False)
    tw.loss.linear_cross_entropy(hidden, weight, target).backward()  # type: ignore[no-untyped-call]
    assert len(calls) == 2
    learning = hidden if wanted == "hidden" else weight
    assert torch.equal(learning.grad, both[0 if wanted == "hidden" else 1])
    assert frozen.grad is None


def test_repeated_calls_have_the_same_bits(calls: list[int]) -> None:
    hidden, weight, target = problem(300, 64, 2000)
    runs = []
    for _ in range(5):
        loss = tw.loss.linear_cross_entropy(hidden, weight, target)
        runs.append((loss, *torch.autograd.grad(loss, (hidden, weight))))
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True))
    assert len(calls) == 5


def test_a_target_that_is_nearly_certain_loses_nothing(calls: list[int]) -> None:
    """1 - p of some 1e-9 is far below float32's rounding of p; the sum of the others is not."""
    weight = F.pad(torch.eye(32), (0, 32)).mul(6.0).contiguous().requires_grad_()
    target = torch.arange(32)
    hidden = F.pad(torch.eye(32), (0, 32)).mul(4.0).contiguous().requires_grad_()
    loss = tw.loss.linear_cross_entropy(hidden, weight, target)
    loss.backward()  # type: ignore[no-untyped-call]
    value, hidden_grad, weight_grad = exact(hidden, weight, target, {})
    assert len(calls) == 1
    assert 0 < float(value) < 1e-8
    torch.testing.assert_close(loss.double(), value, rtol=1e-5, atol=0.0)
    assert hidden.grad is not None
    assert weight.grad is not None
    torch.testing.assert_close(hidden.grad.double(), hidden_grad, rtol=1e-5, atol=1e-20)
    torch.testing.assert_close(weight.grad.double(), weight_grad, rtol=1e-5, atol=1e-20)


def test_what_it_does_not_take(calls: list[int]) -> None:
    hidden, weight, target = problem(100, 64, 200)
    large = weight.detach() * 30  # logits may exceed 60
    half = weight.detach()[:, :40].contiguous()  # no whole tile of features
    for options, h, w in (
        ({}, hidden, large.requires_grad_()),
        ({}, hidden[:, :40], half.requires_grad_()),
        ({"softcap": 5.0}, hidden, weight),
        ({"label_smoothing": 0.1, "class_weight": torch.rand(200)}, hidden, weight),
        ({"z_loss": 0.1}, hidden, weight),
        ({}, hidden.double(), weight.double()),
    ):
        tw.loss.linear_cross_entropy(h, w, target, **options).backward()  # type: ignore[no-untyped-call]
    assert calls == []


def test_nan_is_not_hidden(calls: list[int]) -> None:
    hidden, weight, target = problem(100, 64, 200)
    with torch.no_grad():
        weight[3, 3] = torch.nan
    assert torch.isnan(tw.loss.linear_cross_entropy(hidden, weight, target))
    assert calls == []


def test_without_a_compiler_torch_computes_the_same(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, target = problem(100, 64, 200)
    mine = tw.loss.linear_cross_entropy(hidden, weight, target)
    gradients = torch.autograd.grad(mine, (hidden, weight))
    monkeypatch.setattr(linear_kernel, "KERNEL", [lambda: None])
    other = tw.loss.linear_cross_entropy(hidden, weight, target)
    assert len(calls) == 1
    torch.testing.assert_close(mine, other, rtol=1e-6, atol=0.0)
    for a, b in zip(gradients, torch.autograd.grad(other, (hidden, weight)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6 * float(b.abs().max()))

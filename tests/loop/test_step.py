"""The gradient of a step is that of sum / weight, however the batch is split; nothing waits for the device."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import thalweg as tw
from thalweg.loop import EagerStep, Precision
from thalweg.objective import Objective


def parts(module: nn.Module, loss: tw.loss.Loss, **options: object) -> EagerStep:
    optimizer = tw.optim.SGD(lr=0.0).optimizer(module.parameters())
    return EagerStep(Objective(module, loss, **options), optimizer, Precision("fp32", torch.device("cpu")))


def gradient(stepper: EagerStep, batches: list[tuple[Tensor, ...]]) -> list[Tensor]:
    """Accumulate, settle, and read the gradients that the update would use."""
    for batch in batches:
        stepper.micro(batch, len(batches))
    stepper._settle()
    grads = [p.grad.clone() for p in stepper.objective.model.parameters()]
    for param in stepper.objective.model.parameters():
        param.grad = None
    stepper.clear()
    return grads


@settings(max_examples=40)
@given(
    cuts=st.lists(st.integers(1, 11), max_size=3, unique=True),
    ignored=st.sets(st.integers(0, 11), max_size=12),
    seed=st.integers(0, 5),
)
def test_any_split_and_mask_gives_the_gradient_of_the_whole(cuts: list[int], ignored: set[int], seed: int) -> None:
    torch.manual_seed(seed)
    module = nn.Linear(5, 3).double()
    inputs, target = torch.randn(12, 5, dtype=torch.float64), torch.randint(0, 3, (12,))
    target[list(ignored)] = -100
    loss = tw.loss.CrossEntropy()
    stepper = parts(module, loss)
    edges = [0, *sorted(cuts), 12]
    micro = [(inputs[a:b], target[a:b]) for a, b in itertools.pairwise(edges)]
    found = gradient(stepper, micro)
    if len(ignored) == 12:
        expected = [torch.zeros_like(p) for p in module.parameters()]
    else:
        expected = list(torch.autograd.grad(nn.functional.cross_entropy(module(inputs), target), module.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, 11), max_size=3, unique=True))
def test_whole_weights_split_alike(cuts: list[int]) -> None:
    torch.manual_seed(0)
    module = nn.Linear(5, 1).double()
    inputs, target = torch.randn(12, 5, dtype=torch.float64), torch.randn(12, 1, dtype=torch.float64)
    edges = [0, *sorted(cuts), 12]
    micro = [(inputs[a:b], target[a:b]) for a, b in itertools.pairwise(edges)]
    found = gradient(parts(module, tw.loss.MSE()), micro)
    expected = torch.autograd.grad(nn.functional.mse_loss(module(inputs), target), list(module.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_the_penalty_is_added_once_after_the_division() -> None:
    torch.manual_seed(0)
    inputs, target = torch.randn(12, 5, dtype=torch.float64), torch.randn(12, 1, dtype=torch.float64)
    start = nn.Linear(5, 1).double()
    learner = tw.Learner(start, optimizer="sgd", lr=0.1, loss="mse", penalty=tw.L2(0.3), device="cpu", seed=0)
    weight, bias = start.weight.detach().clone().requires_grad_(), start.bias.detach().clone().requires_grad_()
    history = learner.fit((inputs, target), epochs=1, batch_size=4, accumulate=3, shuffle=False, verbose=False)
    value = nn.functional.mse_loss(inputs @ weight.T + bias, target) + 0.3 * (
        weight.square().sum() + bias.square().sum()
    )
    value.backward()
    torch.testing.assert_close(start.weight.detach(), (weight - 0.1 * weight.grad).detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(start.bias.detach(), (bias - 0.1 * bias.grad).detach(), rtol=1e-12, atol=0)
    assert history["loss"][0] == pytest.approx(float(value.detach()), rel=1e-12)


class Syncs(TorchDispatchMode):
    """Counts reads of a tensor's value by the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.count += 1
        return func(*args, **(kwargs or {}))


def test_the_counter_sees_a_sync() -> None:
    with Syncs() as syncs:
        torch.ones(()).item()
    assert syncs.count == 1


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam"},
        {"optimizer": "sgd", "clip_norm": 1.0},
        {"optimizer": "adamw", "clip_value": 0.1, "schedule": "one_cycle"},
        {"optimizer": "adamw", "penalty": tw.L2(1e-4)},
        {"optimizer": "rmsprop", "clip_norm": 1.0},
        {"optimizer": "adam", "loss": tw.loss.CrossEntropy(class_weight=(1.0, 2.0, 3.0))},
        {"optimizer": "adam", "precision": "bf16"},
    ],
)
def test_no_step_waits_for_the_device(options: dict[str, object], accumulate: int) -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 3))
    inputs, target = torch.randn(64, 4), torch.randint(0, 3, (64,))
    target[5] = -100  # the weight is a tensor then
    learner = tw.Learner(module, **{"loss": "cross_entropy", "device": "cpu", **options})  # type: ignore[arg-type]
    counts: list[int] = []

    class Watch(tw.Hook):
        def on_epoch_begin(self, run: object) -> None:
            self.syncs = Syncs()
            self.syncs.__enter__()

        def on_step_end(self, run: object) -> None:
            counts.append(self.syncs.count)

        def on_epoch_end(self, run: object, row: dict[str, float]) -> None:
            self.syncs.__exit__(None, None, None)

    learner.fit((inputs, target), epochs=1, batch_size=4, accumulate=accumulate, hooks=[Watch()], verbose=False)
    assert len(counts) == 16 // accumulate
    assert counts[-1] == 0


def test_the_last_window_counts_what_it_holds() -> None:
    """Seven rows in micro-batches of two, two to a window: the last update sees three rows."""
    inputs, target = torch.arange(7.0).reshape(7, 1), torch.zeros(7, 1)
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 1.0)
    learner = tw.Learner(module, optimizer="sgd", lr=1e-3, loss="mse", device="cpu")
    history = learner.fit((inputs, target), epochs=1, batch_size=2, accumulate=2, shuffle=False, verbose=False)
    first = 2 * (0 + 1 + 4 + 9) / 4
    after = 1 - 1e-3 * first
    assert len(history) == 2
    assert history["weight"].tolist() == [4.0, 3.0]
    assert history["loss"][1] == pytest.approx(after**2 * (16 + 25 + 36) / 3, rel=1e-6)
    assert module.weight.item() == pytest.approx(after - 1e-3 * 2 * after * (16 + 25 + 36) / 3, rel=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns(precision: str) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(256, 4)
    target = (inputs[:, 0] > 0).long()
    learner = tw.Learner(
        nn.Linear(4, 2), optimizer="adam", lr=0.05, loss="cross_entropy", precision=precision, device="cpu", seed=0
    )
    history = learner.fit((inputs, target), epochs=4, batch_size=32, verbose=False)
    assert history.history["loss"][-1] < 0.5 * history["loss"][0]
    assert next(learner.module.parameters()).dtype is torch.float32


@pytest.mark.parametrize("optimizer", ["adam", torch.optim.Adam])
def test_clipping_is_torchs(optimizer: object) -> None:
    torch.manual_seed(1)
    inputs, target = 50 * torch.randn(40, 4), torch.randn(40, 1)
    ours, theirs = nn.Linear(4, 1), nn.Linear(4, 1)
    theirs.load_state_dict(ours.state_dict())
    learner = tw.Learner(ours, optimizer=optimizer, lr=0.1, loss="mse", clip_norm=0.5, device="cpu")
    history = learner.fit((inputs, target), epochs=1, batch_size=10, shuffle=False, verbose=False)
    peer = torch.optim.Adam(theirs.parameters(), lr=0.1)
    norms = []
    for rows in torch.arange(40).split(10):
        peer.zero_grad()
        nn.functional.mse_loss(theirs(inputs[rows]), target[rows]).backward()
        norms.append(float(nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)))
        peer.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)
    assert history["grad_norm"].tolist() == pytest.approx(norms, rel=1e-5)

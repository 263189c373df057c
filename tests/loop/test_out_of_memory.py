"""Memory that does not hold a micro-batch: it is halved, and the training is the one that would have been."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from tests.loop.test_resume import StopAt
from thalweg.loop.out_of_memory import check_can_halve


class Small(nn.Module):
    """A memory that holds so many rows in the forward pass, and so many in the backward pass."""

    def __init__(self, forward: int = 999, backward: int = 999) -> None:
        super().__init__()
        self.rows, self.back = forward, backward
        self.failed = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > self.rows:
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if x.requires_grad:
            x.register_hook(self.check)
        return x

    def check(self, grad: Tensor) -> None:
        if len(grad) > self.back:
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def data(n: int = 90) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    return x, (x @ torch.randn(4, 3, generator=generator, dtype=torch.float64)).argmax(1)


def train(memory: nn.Module, *between: nn.Module, loss: Any = "cross_entropy", **options: Any) -> Any:
    torch.manual_seed(0)
    # The part that fails in the backward pass lies below another one, whose gradient is then there already.
    module = nn.Sequential(nn.Linear(4, 6), memory, nn.Tanh(), *between, nn.Linear(6, 3)).double()
    rule = options.pop("optimizer", "adam")
    learner = tw.Learner(module, rule, loss, penalty=tw.L2(1e-3), clip_norm=0.5, seed=2, device="cpu")
    settings = {"epochs": 2, "batch_size": 20, "verbose": False, "guard": options.pop("guard", "raise")}
    history = learner.fit(data(), **{**settings, **options})
    return module, history


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("limits", [(12, 999), (999, 12), (7, 4)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_the_same(accumulate: int, limits: tuple[int, int], masked: bool) -> None:
    loss = tw.loss.CrossEntropy(ignore_index=1) if masked else "cross_entropy"
    plain, expected = train(nn.Identity(), loss=loss, accumulate=accumulate)
    memory = Small(*limits)
    with pytest.warns(UserWarning, match=r"memory did not hold a micro-batch, so 20 rows are taken in \d pieces"):
        module, history = train(memory, loss=loss, accumulate=accumulate)
    pieces = -(-20 // min(limits))
    assert memory.failed == (1 if pieces == 2 else 3), "once for each halving of the training, not of each step"
    for name, tensor in plain.state_dict().items():
        other = module.state_dict()[name]
        torch.testing.assert_close(tensor, other, rtol=1e-10, atol=1e-12)
    for column in ("step", "loss", "weight", "grad_norm", "lr"):
        np.testing.assert_allclose(expected[column], history[column], rtol=1e-9)
    assert [(step, kind) for step, kind, _ in history.events] == [(5 if accumulate == 1 else 2, "step")]


def test_a_guard_that_skips_and_the_pieces_go_together() -> None:
    plain, _ = train(nn.Identity(), guard="skip")
    with pytest.warns(UserWarning, match="memory did not hold"):
        module, _ = train(Small(12), guard="skip")
    torch.testing.assert_close(plain.state_dict()["0.weight"], module.state_dict()["0.weight"], rtol=1e-10, atol=1e-12)


def test_a_run_that_is_gone_on_with_takes_the_pieces_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.warns(UserWarning, match="memory did not hold"):
        whole, _ = train(Small(12), hooks=[StopAt(-1)])
    with pytest.warns(UserWarning, match="memory did not hold"):
        train(Small(12), hooks=[StopAt(4)], run_dir=run)
    memory = Small(12)
    module, _ = train(memory, hooks=[StopAt(-1)], resume=run)
    assert memory.failed == 0
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name


@pytest.mark.parametrize(
    ("between", "options", "message"),
    [
        ([nn.BatchNorm1d(6)], {}, r"micro-batches of 20 rows, and 3 takes statistics of its whole batch.*batch_size"),
        ([], {"loss": lambda output, target: output.square().mean()}, r"does not add up from parts of a batch"),
        ([], {"limit": 0}, r"micro-batches of 1 rows, and less than one row cannot be taken"),
        ([], {"optimizer": torch.optim.LBFGS}, r"CUDA out of memory"),
    ],
)
def test_where_halves_would_be_another_training_it_is_said(
    between: list[nn.Module], options: dict[str, Any], message: str
) -> None:
    memory = Small(options.pop("limit", 12))
    with pytest.raises(torch.OutOfMemoryError, match=message):
        train(memory, *between, **options)


def test_an_example_that_memory_does_not_hold_is_of_fewer_rows() -> None:
    """Before the first step one batch goes through the model, to look at its output."""

    class Always(Small):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > self.rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return x

    plain, _ = train(nn.Identity())
    with pytest.warns(UserWarning, match="memory did not hold a micro-batch"):
        module, _ = train(Always(12))
    torch.testing.assert_close(plain.state_dict()["0.weight"], module.state_dict()["0.weight"], rtol=1e-10, atol=1e-12)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        train(Always(0))


def test_batch_statistics_that_are_fixed_do_not_matter() -> None:
    check_can_halve(nn.Sequential(nn.BatchNorm1d(6).eval()), tw.loss.MSE(), 8, 1)


_LIBRARY = torch.library.Library("thalweg_tests", "DEF")
_LIBRARY.define("narrow(Tensor x, int rows) -> Tensor")


def _narrow(x: Tensor, rows: int) -> Tensor:
    if len(x) > rows:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return x.clone()


# A memory that holds so many rows, as an operation that a compiled graph calls while it runs.
_LIBRARY.impl("narrow", _narrow, "CPU")
torch.library.register_fake("thalweg_tests::narrow", lambda x, rows: torch.empty_like(x), lib=_LIBRARY)
narrow = torch.ops.thalweg_tests.narrow


class Narrow(nn.Module):
    """Fails in the forward pass, or in the backward pass, where upper layers may be updated already."""

    def __init__(self, rows: int, back: int) -> None:
        super().__init__()
        self.rows, self.back = rows, back

    def forward(self, x: Tensor) -> Tensor:
        return _Limits.apply(x, self.rows, self.back) if self.training else x  # type: ignore[no-any-return]


class _Limits(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, rows: int, back: int) -> Tensor:  # type: ignore[override]
        return narrow(x, rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.back = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return narrow(grad, ctx.back), None, None


@pytest.fixture
def inductor() -> None:
    """What torch's compiler imports when it is first used warns of a deprecation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("torch.utils.mkldnn")


def compiled(memory: nn.Module, *between: nn.Module, **options: Any) -> Any:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), memory, nn.Tanh(), *between, nn.Linear(6, 3)).double()
    step = options.pop("step", "compiled")
    learner = tw.Learner(module, "adam", "cross_entropy", penalty=tw.L2(1e-3), seed=2, step=step, device="cpu")
    history = learner.fit(data(), **{"epochs": 2, "batch_size": 20, "verbose": False, **options})
    return module, history, learner


@pytest.mark.usefixtures("inductor")
@pytest.mark.parametrize("limits", [(12, 999), (999, 6)])
def test_a_compiled_step_is_undone_and_repeated(limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, expected, _ = compiled(nn.Identity(), step="eager")
    monkeypatch.setattr("thalweg.loop.compiled.may_run_out", lambda device: True)
    with pytest.warns(UserWarning, match=r"20 rows are taken in \d pieces .*; the step is no longer compiled"):
        module, history, learner = compiled(Narrow(*limits))
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(tensor, module.state_dict()[name], rtol=1e-10, atol=1e-12)
    for column in ("step", "loss", "weight", "grad_norm", "lr"):
        np.testing.assert_allclose(expected[column], history[column], rtol=1e-9)
    assert {int(state["step"]) for state in learner.optimizer.state.values()} == {10}


@pytest.mark.usefixtures("inductor")
def test_a_compiled_step_that_cannot_be_halved_or_undone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught:  # nothing is kept where memory is not expected to run out
        compiled(Narrow(12, 999))
    assert "some parameters may be updated already" in caught.value.__notes__[0]
    monkeypatch.setattr("thalweg.loop.compiled.may_run_out", lambda device: True)
    with pytest.raises(torch.OutOfMemoryError, match="3 takes statistics of its whole batch"):
        compiled(Narrow(12, 999), nn.BatchNorm1d(6))


@pytest.mark.usefixtures("inductor")
def test_a_compiled_run_that_is_gone_on_with_takes_the_pieces_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thalweg.loop.compiled.may_run_out", lambda device: True)
    run = tmp_path / "run"
    with pytest.warns(UserWarning, match="memory did not hold"):
        whole, _, _ = compiled(Narrow(12, 999), hooks=[StopAt(-1)])
    with pytest.warns(UserWarning, match="memory did not hold"):
        compiled(Narrow(12, 999), hooks=[StopAt(4)], run_dir=run)
    module, _, _ = compiled(Narrow(12, 999), hooks=[StopAt(-1)], resume=run)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name

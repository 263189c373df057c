"""Memory that does not hold a micro-batch: it is halved, and the training is the one that would have been."""

from __future__ import annotations

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


def test_batch_statistics_that_are_fixed_do_not_matter() -> None:
    check_can_halve(nn.Sequential(nn.BatchNorm1d(6).eval()), tw.loss.MSE(), 8, 1)

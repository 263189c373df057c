"""Rectified chains in one C kernel: the same points as everywhere else, and torch where the kernel is not worth it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from tests.surface.models import direction_of, grid
from thalweg.engine import c_compiler
from thalweg.surface import compiled_chain

pytestmark = pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")

KERNEL, TORCH = "stacked, one kernel for all layers", "stacked, features before rows"


def chain(*widths: int, bias: bool = True, last: bool = False) -> nn.Sequential:
    """Linear layers with rectifiers between them, and after the last one where *last*."""
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        parts += [nn.Linear(before, after, bias=bias), nn.ReLU()]
    return nn.Sequential(*(parts if last else parts[:-1])).double()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "10-40-20-1": lambda: chain(10, 40, 20, 1),
    "odd widths": lambda: chain(3, 5, 7, 6, 2),
    "no bias": lambda: chain(4, 9, 3, bias=False),
    "rectified at the end": lambda: chain(4, 6, 3, last=True),
    "two linear layers in a row": lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2)).double(),
    "one layer": lambda: nn.Linear(6, 2).double(),
}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_chain, "LEAST_WORK", 0)


def prepared(model: nn.Module, rows: int) -> tuple[tw.Learner, tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    inputs = next(m for m in model.modules() if isinstance(m, nn.Linear)).in_features
    outputs = [m for m in model.modules() if isinstance(m, nn.Linear)][-1].out_features
    data = torch.randn(rows, inputs).double(), torch.randn(rows, outputs).double()
    return tw.compile(model, optimizer="sgd", lr=0.1, loss="mse"), data


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", [1, 47, 48, 145])
def test_a_plane_equals_independent_evaluation(name: str, rows: int, always: None) -> None:
    torch.manual_seed(0)
    learner, data = prepared(MODELS[name](), rows)
    d1, d2 = direction_of(learner.module, 1), direction_of(learner.module, 2)
    found = tw.surface.plane(learner, data, None, d1, d2, points=(5, 4), scale=(1.3, 0.7))
    assert found.facts.way == KERNEL
    np.testing.assert_allclose(found.values, grid(learner, data, d1, d2, found.alphas, found.betas), rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_apart_equal_torch(dtype: torch.dtype, always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    learner, data = prepared(chain(10, 40, 20, 1), 600)
    learner.module.to(dtype)
    data = data[0].to(dtype), data[1].to(dtype)
    settings: dict[str, Any] = {"points": 21, "batches": 3, "batch_size": 200}
    ours = tw.surface.random_line(learner, data, **settings)
    monkeypatch.setattr(compiled_chain, "LEAST_WORK", float("inf"))
    theirs = tw.surface.random_line(learner, data, **settings)
    assert (ours.facts.way, theirs.facts.way) == (KERNEL, TORCH)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-12 if dtype is torch.float64 else 1e-5)


def test_the_number_of_threads_does_not_matter(always: None) -> None:
    torch.manual_seed(0)
    learner, data = prepared(chain(10, 40, 20, 1), 700)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(tw.surface.random_line(learner, data, points=9).values)
    finally:
        torch.set_num_threads(before)
    # The kernel's outputs are the same bits; torch's products and sums differ by where they are cut.
    np.testing.assert_allclose(found[1:], found[:1] * 2, rtol=1e-13)


def test_what_is_not_a_number_stays(always: None) -> None:
    torch.manual_seed(0)
    learner, data = prepared(chain(4, 6, 3, last=True), 50)
    direction = {name: torch.zeros_like(p) for name, p in learner.module.named_parameters()}
    direction["0.bias"] = torch.full_like(direction["0.bias"], 1e308)
    found = tw.surface.line(learner, data, direction=direction, alphas=[-100.0, 0.0, 100.0])
    assert found.facts.way == KERNEL
    # Minus infinity is rectified; weights of both signs make of infinity no number, and the last rectifier keeps that.
    assert np.isfinite(found.values[:2]).all()
    assert np.isnan(found.values[2])


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)),
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)),
        nn.Sequential(nn.Linear(4, 600), nn.ReLU(), nn.Linear(600, 2)),
        nn.Sequential(nn.Linear(4, 200), nn.ReLU(), nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 2)),
    ],
    ids=["tanh", "batch norm", "wide", "many weights"],
)
def test_what_torch_is_left_with(model: nn.Sequential, always: None) -> None:
    learner, data = prepared(model.double(), 20)
    assert tw.surface.random_line(learner, data, points=3).facts.way == TORCH


def test_little_work_is_not_worth_a_compiler() -> None:
    learner, data = prepared(chain(10, 40, 20, 1), 1000)
    few, builds = tw.surface.random_line(learner, data, points=11), c_compiler.builds()
    assert few.facts.way == TORCH
    many = tw.surface.random_line(learner, data, points=1001)
    assert many.facts.way == KERNEL
    assert c_compiler.builds() - builds <= 1
    again = c_compiler.builds()
    other, data = prepared(chain(4, 30, 30, 3), 1000)
    assert tw.surface.random_line(other, data, points=1001).facts.way == KERNEL
    assert c_compiler.builds() == again  # one kernel for every chain


def test_no_compiler_is_no_obstacle(always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(source: str) -> Any:
        raise c_compiler.NoCompiler("there is none")

    monkeypatch.setattr(compiled_chain, "load_kernel", none)
    learner, data = prepared(chain(10, 40, 20, 1), 50)
    assert tw.surface.random_line(learner, data, points=5).facts.way == TORCH

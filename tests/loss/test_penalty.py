"""Penalties: closed form against autograd, and torch's weight_decay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from thalweg import loss as tl

PENALTIES = [tl.L2(0.3), tl.L1(0.2)]


def params(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"weight": (3, 4), "bias": (3,), "scale": ()}
    made = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    made["bias"][1] = 0.0
    return {name: value.to(dtype).requires_grad_() for name, value in made.items()}


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_closed_gradient_equals_autograd(penalty: tl.Penalty) -> None:
    given = list(params().values())
    grads = [torch.ones_like(param) for param in given]
    penalty.add_gradient_(given, grads)
    value = penalty(dict(enumerate(given)))  # type: ignore[arg-type]
    for grad, autograd in zip(grads, torch.autograd.grad(value, given), strict=True):
        torch.testing.assert_close(grad, 1 + autograd, rtol=1e-14, atol=1e-14)


def test_values_are_sums_over_all_parameters() -> None:
    given = params()
    flat = torch.cat([param.detach().flatten() for param in given.values()])
    torch.testing.assert_close(tl.L2(0.3)(given).detach(), 0.3 * (flat @ flat), rtol=1e-14, atol=0)
    torch.testing.assert_close(tl.L1(0.2)(given).detach(), 0.2 * flat.abs().sum(), rtol=1e-14, atol=0)


def test_l2_in_the_loss_is_twice_torchs_weight_decay() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    theirs.load_state_dict(ours.state_dict())
    x, y = torch.randn(5, 3).double(), torch.randn(5, 2).double()
    for model, weight_decay in ((ours, 0.0), (theirs, 0.2)):
        loss = nn.functional.mse_loss(model(x), y)
        if model is ours:
            loss = loss + tl.L2(0.1)(dict(model.named_parameters()))
        loss.backward()
        torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=weight_decay).step()
    for mine, torchs in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_inside_transforms(penalty: tl.Penalty) -> None:
    given = {name: param.detach() for name, param in params().items()}
    grads = [torch.zeros_like(param) for param in given.values()]
    penalty.add_gradient_(list(given.values()), grads)
    functional = torch.func.grad(penalty)(given)
    stacked = torch.vmap(torch.func.grad(penalty))({name: torch.stack([p, 2 * p]) for name, p in given.items()})
    torch._dynamo.reset()
    compiled = torch.compile(penalty.__call__, fullgraph=True, backend="eager")(given)
    for grad, name in zip(grads, given, strict=True):
        torch.testing.assert_close(functional[name], grad, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(stacked[name][0], grad, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(compiled, penalty(given))


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_nothing_costs_nothing(penalty: tl.Penalty) -> None:
    penalty.add_gradient_([], [])
    assert float(penalty({})) == 0.0


def test_half_precision_parameters_are_summed_in_float32() -> None:
    ones = {"weight": torch.ones(70_000, dtype=torch.float16)}
    assert float(tl.L2(1.0)(ones)) == 70_000.0

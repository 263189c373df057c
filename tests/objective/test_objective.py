"""The functional form is the module's own: same values, same gradients, same buffers, nothing touched."""

from __future__ import annotations

import torch
from torch import nn

import thalweg as tw
from thalweg.objective import Objective, logits_of


def setup() -> tuple[nn.Module, Objective, object]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).double()
    batch = tw.data.split((torch.randn(8, 3, dtype=torch.float64), torch.randint(0, 2, (8,))))
    return module, Objective(module, tw.loss.CrossEntropy(), tw.L2(0.1)), batch


def test_values_gradients_and_buffers_are_the_modules() -> None:
    module, objective, batch = setup()
    params = {name: p.detach().clone() for name, p in module.named_parameters()}
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    before = {name: t.clone() for name, t in module.state_dict().items()}

    def mean(given: dict[str, torch.Tensor]) -> torch.Tensor:
        total, weight, _ = objective(given, buffers, batch, rng=7)
        return total / weight + objective.penalty(given)

    grads = torch.func.grad(mean)(params)
    total, weight, after = objective(params, buffers, batch, rng=7)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), "the functional form must not touch the module"
    assert all(torch.equal(buffers[name], before[name]) for name in buffers)
    torch.manual_seed(7)
    eager_total, eager_weight, _ = objective.eager(batch)
    (eager_total / eager_weight + objective.penalty(dict(module.named_parameters()))).backward()
    assert torch.equal(total, eager_total.detach())
    assert int(weight) == int(eager_weight)
    for name, param in module.named_parameters():
        torch.testing.assert_close(grads[name], param.grad, rtol=1e-12, atol=1e-14)
    for name, buffer in module.named_buffers():
        torch.testing.assert_close(after[name], buffer)


def test_the_seed_decides_dropout_and_leaves_the_generator() -> None:
    module, objective, batch = setup()
    params, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    state = torch.get_rng_state()
    same = [float(objective(params, buffers, batch, rng=seed)[0].detach()) for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]
    assert torch.equal(state, torch.get_rng_state())


def test_many_members_at_once_equal_one_after_the_other() -> None:
    module = nn.Linear(3, 2).double()
    objective = Objective(module, tw.loss.CrossEntropy())
    batch = tw.data.split((torch.randn(8, 3, dtype=torch.float64), torch.randint(0, 2, (8,))))
    stacked = {name: torch.randn(5, *p.shape, dtype=torch.float64) for name, p in module.named_parameters()}
    sums = torch.func.vmap(lambda params: objective(params, {}, batch)[0])(stacked)
    for member in range(5):
        alone, _, _ = objective({name: t[member] for name, t in stacked.items()}, {}, batch)
        torch.testing.assert_close(sums[member], alone, rtol=1e-12, atol=0)


def test_outputs_with_logits_are_understood() -> None:
    class Output:
        logits = torch.ones(2)

    assert torch.equal(logits_of(Output()), torch.ones(2))
    assert torch.equal(logits_of({"logits": torch.zeros(1)}), torch.zeros(1))
    assert torch.equal(logits_of(torch.ones(3)), torch.ones(3))

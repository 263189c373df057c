"""Wrappers around every rule: their definitions at every step, their state beside the inner one's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import thalweg as tw
from tests.optim.cases import BY_ID, CASES, Case
from tests.optim.problem import noise, set_gradients, start

INNER = [case.id for case in CASES if not isinstance(case.rule, tw.optim.Wrapper) and not case.rule.averages]


@pytest.fixture(params=INNER)
def case(request: pytest.FixtureRequest) -> Case:
    return BY_ID[request.param]


@pytest.mark.parametrize("engine", ["auto", "reference", "compiled"])
def test_lookahead_by_its_definition(case: Case, engine: str) -> None:
    # Run the inner optimizer alone, and go back by hand.
    ours, fast = start(), start()
    optimizer = tw.optim.Lookahead(case.rule, k=4, alpha=0.3).optimizer(ours, engine=engine)
    inner = case.rule.optimizer(fast, engine=engine)
    slow = [w.clone() for w in fast]
    for t, kicks in enumerate(noise(10), start=1):
        set_gradients(ours, kicks)
        set_gradients(fast, kicks)
        optimizer.step()
        inner.step()
        if t % 4 == 0:
            for w, back in zip(fast, slow, strict=True):
                back += 0.3 * (w - back)
                w.copy_(back)
        for mine, theirs, back in zip(ours, fast, slow, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=1e-13)
            torch.testing.assert_close(optimizer.state[mine]["slow_param"], back, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("decay", "engine"), [(0.9, "auto"), (None, "auto"), (0.9, "compiled")])
def test_averaged_equals_torchs_averaged_model(case: Case, decay: float | None, engine: str) -> None:
    class Bag(nn.Module):
        def __init__(self, params: list[torch.Tensor]) -> None:
            super().__init__()
            self.bag = nn.ParameterList(params)

    ours, plain = start(), Bag(start())
    optimizer = tw.optim.Averaged(case.rule, decay=decay).optimizer(ours, engine=engine)
    inner = case.rule.optimizer(plain.parameters(), engine=engine)
    multi = None if decay is None else torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    peer = torch.optim.swa_utils.AveragedModel(plain, multi_avg_fn=multi)
    for kicks in noise(10):
        set_gradients(ours, kicks)
        set_gradients(list(plain.parameters()), kicks)
        optimizer.step()
        inner.step()
        peer.update_parameters(plain)
        trained = [w.clone() for w in ours]
        with optimizer.evaluating():
            for mine, theirs in zip(ours, peer.module.parameters(), strict=True):
                torch.testing.assert_close(mine, theirs.detach(), rtol=1e-12, atol=1e-12)
        for mine, before, alone in zip(ours, trained, plain.parameters(), strict=True):
            assert torch.equal(mine, before), "swapped back bit for bit"
            assert torch.equal(mine, alone.detach()), "averaging does not touch training"


def test_inner_state_keeps_its_names() -> None:
    w = [torch.ones(3, requires_grad=True)]
    optimizer = tw.optim.Averaged(tw.optim.Lookahead(tw.optim.AdamW())).optimizer(w)
    w[0].grad = torch.ones(3)
    optimizer.step()
    assert set(optimizer.state[w[0]]) == {
        "step",
        "exp_avg",
        "exp_avg_sq",
        "slow_param",
        "lookahead_step",
        "average",
        "average_step",
    }
    group = optimizer.param_groups[0]
    assert (group["lr"], group["lookahead_k"], group["average_decay"]) == (1e-3, 5, 0.999)


def test_both_alphas_of_lookahead_over_rmsprop() -> None:
    group = tw.optim.Lookahead(tw.optim.RMSprop(alpha=0.9), alpha=0.25).hyper()
    assert (group["alpha"], group["lookahead_alpha"]) == (0.9, 0.25)


def test_evaluating_puts_back_after_an_exception() -> None:
    w = torch.nn.Parameter(torch.tensor([0.1, 0.2, 0.3]))
    optimizer = tw.optim.Averaged(tw.optim.SGD(lr=0.3), decay=0.5).optimizer([w])
    for _ in range(3):
        w.grad = torch.ones(3)
        optimizer.step()
    before = w.detach().clone()

    def interrupted() -> None:
        with optimizer.evaluating():
            assert not torch.equal(w, before)
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        interrupted()
    assert torch.equal(w, before)


def test_evaluating_leaves_other_rules_alone() -> None:
    w = torch.nn.Parameter(torch.ones(2))
    optimizer = tw.optim.SGD(lr=0.1).optimizer([w])
    w.grad = torch.ones(2)
    optimizer.step()
    version = w._version
    with optimizer.evaluating():
        pass
    assert w._version == version
    assert not optimizer.rule.averages


def test_before_the_first_average_evaluation_uses_the_weights() -> None:
    w = torch.nn.Parameter(torch.ones(2))
    optimizer = tw.optim.Averaged(tw.optim.SGD(lr=0.1), start=3).optimizer([w])
    with optimizer.evaluating():  # no state yet
        assert torch.equal(w.detach(), torch.ones(2))
    w.grad = torch.ones(2)
    optimizer.step()
    before = w.detach().clone()
    with optimizer.evaluating():
        assert torch.equal(w.detach(), before)


def test_half_precision_averages_do_not_stall() -> None:
    # In bfloat16, 1 + 0.001 * (2 - 1) is 1: an average kept there would never move.
    w = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.bfloat16))
    optimizer = tw.optim.Averaged(tw.optim.SGD(lr=1.0), decay=0.999).optimizer([w])
    for value in (0.0, -1.0, *[0.0] * 99):
        w.grad = torch.tensor([value], dtype=torch.bfloat16)
        optimizer.step()
    assert optimizer.state[w]["average"].dtype is torch.float32
    assert optimizer.state[w]["average"].item() == pytest.approx(2 - 0.999**100, rel=1e-5)

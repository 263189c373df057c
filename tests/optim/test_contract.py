"""Every row of the table: the rule equals its paper, its peer, itself stacked, and keeps what it is given."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import thalweg as tw
from tests.optim import reference
from tests.optim.cases import BY_ID, CASES, IDS, Case
from tests.optim.problem import SHAPES, gradient, noise, set_gradients, start

STEPS = 50


def close(got: Any, wanted: Any, rtol: float, what: str) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=rtol, atol=rtol, err_msg=what)


@pytest.fixture(params=IDS)
def case(request: pytest.FixtureRequest) -> Case:
    return BY_ID[request.param]


def test_equals_the_paper_at_every_step(case: Case) -> None:
    rule, hyper = case.rule, case.rule.hyper()
    for index, w in enumerate(start()):
        paper = reference.of(rule)()
        state, theirs = rule.init(w), w.numpy().copy()
        for t, kicks in enumerate(noise(STEPS)):
            grad = gradient(w.numpy(), kicks[index])
            w, state = rule.update(w, torch.as_tensor(grad), state, hyper)
            theirs = paper.step(theirs, gradient(theirs, kicks[index]))
            close(w, theirs, case.rtol, f"step {t + 1}, shape {SHAPES[index]}")
            average = rule.evaluation(w, state, hyper)
            close(average, paper.average(theirs), case.rtol, f"average, step {t + 1}, shape {SHAPES[index]}")


@pytest.mark.parametrize("id", [case.id for case in CASES if case.peer is not None])
@pytest.mark.parametrize("engine", ["auto", "reference", "compiled"])
def test_equals_its_peer(id: str, engine: str) -> None:
    case = BY_ID[id]
    assert case.peer is not None
    ours, theirs = start(), start()
    optimizer, peer = case.rule.optimizer(ours, engine=engine), case.peer(theirs)
    if hasattr(peer, "train"):
        peer.train()
    for kicks in noise(STEPS):
        set_gradients(ours, kicks)
        set_gradients(theirs, kicks)
        optimizer.step()
        peer.step()
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other, case.peer_rtol or case.rtol, f"after {STEPS} steps")
    if hasattr(peer, "eval"):
        peer.eval()
        with optimizer.evaluating():
            for mine, other in zip(ours, theirs, strict=True):
                close(mine, other, case.rtol, "the average")


def test_muon_equals_torch_in_float32() -> None:
    # Both iterate in bfloat16, whose 8 bits make two roundings of the same matrix differ by 2^-8 of it; the iteration
    # amplifies small singular values by up to 3.4^5. So the update directions are compared, and the path loosely.
    settings = {"lr": 0.02, "weight_decay": 0.1}
    ours, theirs = start(torch.float32, ((16, 8), (8, 24))), start(torch.float32, ((16, 8), (8, 24)))
    optimizer, peer = tw.optim.Muon(**settings).optimizer(ours), torch.optim.Muon(theirs, **settings)
    for t, kicks in enumerate(noise(STEPS, ((16, 8), (8, 24)))):
        set_gradients(ours, kicks)
        set_gradients(theirs, kicks)
        before = [w.clone() for w in ours]
        was = [w.clone() for w in theirs]
        optimizer.step()
        peer.step()
        for mine, other, b, a in zip(ours, theirs, before, was, strict=True):
            cosine = torch.nn.functional.cosine_similarity((mine - b).flatten(), (other - a).flatten(), dim=0)
            assert cosine > 0.999, t
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() < 0.01 * other.norm()


def nested(hyper: dict[str, Any], rates: Tensor) -> dict[str, Any]:
    """Return the hyperparameters with a rate, betas and a decay per member."""
    own = dict(hyper)
    if own["lr"] is not None:
        own["lr"] = own["lr"] * rates
    for name in ("weight_decay", "momentum", "alpha", "lookahead_alpha"):
        if isinstance(own.get(name), float):
            own[name] = own[name] * (0.8 + 0.1 * rates)
    if "betas" in own:
        own["betas"] = tuple(beta * (0.9 + 0.05 * rates) for beta in own["betas"])
    return own


def test_stacked_members_equal_one_at_a_time(case: Case) -> None:
    rule = case.rule
    rates = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    hyper = nested(rule.hyper(), rates)
    dims = {name: 0 if isinstance(v, Tensor) else (0, 0) if name == "betas" else None for name, v in hyper.items()}
    for index, shape in enumerate(SHAPES):
        generator = torch.Generator().manual_seed(index)
        stacked = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
        grads = torch.randn(6, 3, *shape, generator=generator, dtype=torch.float64)
        alone = []
        for member in range(3):
            own = {
                name: v[member] if isinstance(v, Tensor) else tuple(b[member] for b in v) if name == "betas" else v
                for name, v in hyper.items()
            }
            w, state = stacked[member], rule.init(stacked[member])
            for grad in grads:
                w, state = rule.update(w, grad[member], state, own)
            alone.append(rule.evaluation(w, state, own))
        w = stacked
        states = [rule.init(one) for one in stacked]
        together = {name: torch.stack([state[name] for state in states]) for name in states[0]}

        def update(w: Tensor, g: Tensor, s: dict[str, Tensor], h: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
            return rule.update(w, g, s, h)

        for grad in grads:
            w, together = torch.vmap(update, in_dims=(0, 0, 0, dims))(w, grad, together, hyper)
        value = torch.vmap(rule.evaluation, in_dims=(0, 0, dims))(w, together, hyper)
        close(value, torch.stack(alone), 1e-12, f"shape {shape}")


def test_keeps_dtype_shape_and_arguments(case: Case) -> None:
    for dtype in (torch.float32, torch.float64):
        for w in start(dtype):
            grad = torch.ones_like(w)
            state = case.rule.init(w)
            kept = copy.deepcopy((w, grad, state))
            new, new_state = case.rule.update(w, grad, state, case.rule.hyper())
            assert new.shape == w.shape
            assert new.dtype is dtype or w.ndim == 0  # a 0-dim parameter meets 0-dim factors; the engine casts back
            assert new_state.keys() == state.keys()
            for name, value in state.items():
                assert new_state[name].shape == value.shape, name
                assert torch.equal(value, kept[2][name]), f"{name} was changed"
            assert torch.equal(w, kept[0])
            assert torch.equal(grad, kept[1])


def test_maximize_is_minimize_of_the_negative(case: Case) -> None:
    hyper = case.rule.hyper()
    for w in start():
        grad = torch.sin(3 * w) + 0.1
        up, _ = case.rule.update(w, grad, case.rule.init(w), {**hyper, "maximize": True, "other_maximize": True})
        down, _ = case.rule.update(w, -grad, case.rule.init(w), {**hyper, "maximize": False, "other_maximize": False})
        assert torch.equal(up, down)


def test_a_rule_is_a_value(case: Case) -> None:
    assert copy.deepcopy(case.rule) == case.rule
    assert case.rule.with_hyper(case.rule.hyper()) == case.rule
    assert tw.optim.from_dict(tw.optim.to_dict(case.rule)) == case.rule
    with pytest.raises(AttributeError):
        case.rule.k = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("id", [case.id for case in CASES if not case.rule.owns_rate])
def test_the_rate_of_a_group_reaches_the_rule(id: str) -> None:
    rule = BY_ID[id].rule
    assert rule.with_hyper({**rule.hyper(), "params": [], "lr": 0.123}).lr == 0.123

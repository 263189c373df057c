"""Clipping rides along: what clip_grad_norm_ and a step would do, with the gradients left as they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import thalweg as tw
from tests.optim.cases import BY_ID, IDS
from tests.optim.problem import noise, set_gradients, start
from thalweg.engine import clip_coefficient, total_norm


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("engine", ["auto", "reference", "compiled"])
@pytest.mark.parametrize("clip", [0.7, 1e6])
def test_norm_equals_torchs_clip_and_step(id: str, engine: str, clip: float) -> None:
    rule = BY_ID[id].rule
    ours, theirs = start(torch.float32), start(torch.float32)
    a, b = rule.optimizer(ours, clip_norm=clip, engine=engine), rule.optimizer(theirs, engine=engine)
    for kicks in noise(5):
        set_gradients(ours, kicks)
        for other, mine in zip(theirs, ours, strict=True):
            other.copy_(mine)
            other.grad = mine.grad.clone()
        before = [w.grad.clone() for w in ours]
        a.step()
        norm = torch.nn.utils.clip_grad_norm_(theirs, clip)
        b.step()
        torch.testing.assert_close(a.last_norm, norm, rtol=1e-6, atol=0)
        for mine, other, grad in zip(ours, theirs, before, strict=True):
            # 1e-6 as promised; Muon iterates in bfloat16, where a rounded gradient shows as 2^-8 of the step
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-3 if "muon" in id else 1e-6)
            assert torch.equal(mine.grad, grad), "the gradient is not rewritten"


@pytest.mark.parametrize("engine", ["auto", "reference", "compiled"])
def test_value_equals_torchs(engine: str) -> None:
    ours, theirs = start(), start()
    a = tw.optim.AdamW(lr=0.01).optimizer(ours, clip_value=0.3, engine=engine)
    b = torch.optim.AdamW(theirs, lr=0.01)
    for kicks in noise(5):
        set_gradients(ours, kicks)
        set_gradients(theirs, kicks)
        before = [w.grad.clone() for w in ours]
        a.step()
        torch.nn.utils.clip_grad_value_(theirs, 0.3)
        b.step()
        assert all(torch.equal(w.grad, g) for w, g in zip(ours, before, strict=True))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("engine", ["auto", "compiled"])
def test_value_then_norm_over_groups_and_a_scale(engine: str) -> None:
    a, b = torch.zeros(2), torch.zeros(1)
    a.grad, b.grad = torch.tensor([30.0, 4.0]), torch.tensor([-50.0])
    optimizer = tw.optim.SGD(lr=1.0).optimizer(
        [{"params": [a]}, {"params": [b], "lr": 2.0}], clip_value=3.0, clip_norm=1.0, engine=engine
    )
    optimizer.apply(scale=torch.tensor(0.1))  # 3, 0.4, -5 -> 3, 0.4, -3
    norm = (9 + 0.16 + 9) ** 0.5
    assert optimizer.last_norm.item() == pytest.approx(norm)
    torch.testing.assert_close(a, torch.tensor([-3.0, -0.4]) / norm)
    torch.testing.assert_close(b, torch.tensor([6.0]) / norm)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("id", ["sgd-momentum", "adamw", "adagrad", "rmsprop", "lion"])
def test_a_known_norm_and_a_scale_give_the_same(id: str, engine: str, overwrite: bool) -> None:
    rule = BY_ID[id].rule
    ours, theirs = start(torch.float32), start(torch.float32)
    a, b = (rule.optimizer(params, clip_norm=0.5, engine=engine) for params in (ours, theirs))
    for kicks in noise(4):
        set_gradients(ours, kicks)
        for mine, other in zip(ours, theirs, strict=True):
            other.grad = mine.grad / 8
        a.apply(torch.tensor(0.125), total_norm([w.grad for w in ours]), overwrite=overwrite)
        b.step()
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)
            mine.copy_(other)


def test_norm_of_every_kind_of_gradient() -> None:
    sparse = torch.sparse_coo_tensor(
        torch.tensor([[0, 0, 2]]), torch.tensor([1.0, 2.0, 4.0]), (4,), check_invariants=True
    )
    assert total_norm([sparse]).item() == 5.0
    assert total_norm([torch.tensor([3 + 4j])]).item() == 5.0
    assert total_norm([torch.full((4,), 300.0, dtype=torch.float16)]).item() == 600.0  # 600^2 is no float16
    assert total_norm([torch.ones(4), torch.ones(5, dtype=torch.float64)]).item() == 3.0
    assert total_norm([torch.zeros(0)]).item() == 0.0
    assert total_norm([]).item() == 0.0


def test_coefficient_is_torchs() -> None:
    for norm in (0.0, 0.5, 1.0, 7.0):
        w = torch.zeros(1)
        w.grad = torch.tensor([norm])
        torch.nn.utils.clip_grad_norm_([w], 1.0)
        torch.testing.assert_close(w.grad, norm * clip_coefficient(torch.tensor([norm]), 1.0))


def test_complex_and_sparse_values_are_clipped_by_part() -> None:
    z = torch.zeros(1, dtype=torch.complex64)
    z.grad = torch.tensor([3 - 0.5j])
    tw.optim.SGD(lr=1.0).optimizer([z], clip_value=1.0).step()
    assert z.item() == -1 + 0.5j
    w = torch.zeros(4)
    w.grad = torch.sparse_coo_tensor(torch.tensor([[0, 2]]), torch.tensor([5.0, -0.5]), (4,), check_invariants=True)
    tw.optim.SGD(lr=1.0).optimizer([w], clip_value=1.0).step()
    assert w.tolist() == [-1.0, 0.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("settings", "error", "regex"),
    [
        ({"clip_norm": 0.0}, ValueError, r"^SGD: clip_norm=0\.0 must be > 0"),
        ({"clip_norm": "1"}, TypeError, r"^SGD: clip_norm='1' must be a number"),
        ({"clip_value": -1.0}, ValueError, r"^SGD: clip_value=-1\.0 must be > 0"),
    ],
)
def test_refused(settings: dict[str, object], error: type[Exception], regex: str) -> None:
    with pytest.raises(error, match=regex):
        tw.optim.SGD().optimizer([Tensor(2)], **settings)  # type: ignore[arg-type]

"""Sparse gradients and complex parameters: as torch does where it does, refused by name elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import thalweg as tw
from tests.optim.cases import BY_ID, CASES, TORCH


def sparse_gradient(t: int) -> Tensor:
    """A gradient of shape (6, 2) that names row 1 twice, and other rows at other steps."""
    index = torch.tensor([[1, 1, (t * 2) % 6]])
    values = torch.sin(torch.arange(6.0).reshape(3, 2) + t)
    return torch.sparse_coo_tensor(index, values, (6, 2), check_invariants=True)


@pytest.mark.parametrize("id", [case.id for case in CASES if case.sparse])
@pytest.mark.parametrize("engine", ["auto", "reference", "compiled"])
def test_sparse_equals_dense(id: str, engine: str) -> None:
    rule = BY_ID[id].rule
    torch.manual_seed(0)
    ours = torch.randn(6, 2)
    theirs = ours.clone()
    a = rule.optimizer([ours], clip_norm=1.5, engine=engine)
    b = rule.optimizer([theirs], clip_norm=1.5, engine="reference")
    for t in range(5):
        ours.grad, theirs.grad = sparse_gradient(t), sparse_gradient(t).to_dense()
        a.step()
        b.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sparse_equals_torch(name: str, engine: str) -> None:
    torch.manual_seed(0)
    ours = torch.randn(6, 2)
    theirs = ours.clone()
    a = getattr(tw.optim, name)(lr=0.1).optimizer([ours], engine=engine)
    b = getattr(torch.optim, name)([theirs], lr=0.1)
    # torch warns where it makes a sparse tensor without saying whether to check it.
    with torch.sparse.check_sparse_tensor_invariants(True):
        for t in range(5):
            ours.grad, theirs.grad = sparse_gradient(t), sparse_gradient(t)
            a.step()
            b.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_only_the_named_rows_are_touched() -> None:
    w = torch.zeros(6, 2)
    optimizer = tw.optim.Adagrad(lr=0.1).optimizer([w])
    w.grad = sparse_gradient(1)
    optimizer.step()
    assert w.abs().sum(1).nonzero().flatten().tolist() == [1, 2]
    assert optimizer.state[w]["sum"].sum(1).nonzero().flatten().tolist() == [1, 2]


@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("id", [case.id for case in CASES if not case.sparse and case.id != "averaged-swa"])
def test_sparse_is_refused_by_name(id: str, engine: str) -> None:
    rule = BY_ID[id].rule
    w = torch.ones(6, 2)
    before = w.clone()
    optimizer = rule.optimizer([w], engine=engine)
    w.grad = sparse_gradient(0)
    with pytest.raises(TypeError, match=rf"^{type(rule).__name__}: the gradient of a parameter of shape \(6, 2\) is"):
        optimizer.step()
    assert torch.equal(w, before)


@pytest.mark.parametrize("id", [case.id for case in TORCH if case.complex])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("engine", ["auto", "compiled"])
def test_complex_equals_torch(id: str, engine: str, dtype: torch.dtype) -> None:
    case = BY_ID[id]
    assert case.peer is not None
    torch.manual_seed(0)
    ours = [torch.randn(3, 2, dtype=dtype), torch.randn((), dtype=dtype)]
    theirs = [w.clone() for w in ours]
    a, b = case.rule.optimizer(ours, engine=engine), case.peer(theirs)
    for _ in range(10):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        a.step()
        b.step()
    tol = 2e-5 if dtype is torch.complex64 else case.peer_rtol or 1e-11
    torch.testing.assert_close(ours, theirs, rtol=tol, atol=tol)
    for mine, other in zip(ours, theirs, strict=True):
        for name, value in a.state[mine].items():
            if name in b.state[other] and name != "mu_product":  # ours is as exact as the parameter
                assert value.dtype == b.state[other][name].dtype, name


@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("id", [case.id for case in CASES if case.complex])
def test_complex_is_two_reals(id: str, engine: str) -> None:
    rule = BY_ID[id].rule
    torch.manual_seed(0)
    z = torch.randn(4, dtype=torch.complex128)
    pair = torch.view_as_real(z).clone()
    a, b = rule.optimizer([z], engine=engine), rule.optimizer([pair], engine="reference")
    for t in range(4):
        z.grad = torch.exp(1j * (z + t)).conj()  # a view that only notes the conjugation
        pair.grad = torch.view_as_real(z.grad.resolve_conj()).clone()
        a.step()
        b.step()
    torch.testing.assert_close(torch.view_as_real(z), pair, rtol=1e-11, atol=1e-11)
    with a.evaluating(), b.evaluating():
        torch.testing.assert_close(torch.view_as_real(z), pair, rtol=1e-11, atol=1e-11)

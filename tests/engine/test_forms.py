"""Many tensors read in one call, and a compiled step over many tensors that notices whatever moved."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import thalweg as tw
from thalweg.engine import RuleOptimizer, c_compiler, forms
from thalweg.engine.forms import FEWEST, forms_of

pytestmark = pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")

O = tw.optim  # noqa: E741 - as in the table of cases
MANY = 2 * FEWEST


def tensors(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((), (3,), (2, 5), (2, 3, 4))
    return [torch.randn(shapes[i % 4], generator=generator) for i in range(MANY)]


def test_addresses_are_those_of_each_tensor() -> None:
    params = [torch.nn.Parameter(w) for w in tensors()]
    states = [{"step": torch.zeros(()), "average": w.detach().bfloat16()} for w in params]
    found = forms_of(params, states)
    if found is None:
        pytest.skip("this torch has no table of DLPack functions")
    flat = [*params, *(value for state in states for value in state.values())]
    assert found.places(params, states).tolist() == [t.data_ptr() for t in flat]
    assert found.places(params) is None
    assert found.places(params, states[:-1]) is None
    assert found.places(params, [*states, states[0]]) is None
    assert found.places([*params[1:], params[0]], states) is None  # the same number of other shapes


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.double(),
        lambda t: t.new_empty(5, 2).t(),
        lambda t: t.new_empty(1, 10),
        lambda t: t.to_sparse(),
        lambda t: t.new_empty(2, 10)[:, ::2],
        lambda t: t.to("meta"),
    ],
    ids=["dtype", "transposed", "shape", "sparse", "gaps", "device"],
)
def test_one_tensor_of_another_form_is_noticed(change: Callable[[Tensor], Tensor]) -> None:
    given = tensors()
    found = forms_of(given)
    if found is None:
        pytest.skip("this torch has no table of DLPack functions")
    assert found.places(given) is not None
    given[-2] = change(given[2])
    assert found.places(given) is None


def test_few_tensors_are_not_worth_a_call() -> None:
    assert forms_of(tensors()[: FEWEST - 1]) is None


def pair() -> tuple[list[Tensor], list[Tensor], RuleOptimizer, RuleOptimizer]:
    ours, theirs = tensors(), tensors()
    rule = O.SGD(lr=0.1, momentum=0.5)
    a, b = rule.optimizer(ours, engine="compiled"), rule.optimizer(theirs, engine="reference")
    assert isinstance(a, RuleOptimizer)
    assert isinstance(b, RuleOptimizer)
    return ours, theirs, a, b


def steps(params: list[Tensor], optimizer: RuleOptimizer, moved: Callable[[list[Tensor], RuleOptimizer], None]) -> None:
    for t in range(4):
        for param, grad in zip(params, tensors(t + 1), strict=True):
            param.grad = grad
        if t == 2:
            moved(params, optimizer)
        optimizer.step()


def momentum(params: list[Tensor], optimizer: RuleOptimizer) -> Tensor:
    return optimizer.state[params[6]]["momentum_buffer"]


def move_data(params: list[Tensor], optimizer: RuleOptimizer) -> None:
    params[6].data = torch.zeros(2, 5)


def move_state_data(params: list[Tensor], optimizer: RuleOptimizer) -> None:
    momentum(params, optimizer).data = torch.ones(2, 5)


def replace_state(params: list[Tensor], optimizer: RuleOptimizer) -> None:
    optimizer.state[params[6]]["momentum_buffer"] = torch.ones(2, 5)


def transpose_grad(params: list[Tensor], optimizer: RuleOptimizer) -> None:
    grad = params[6].grad
    assert grad is not None
    params[6].grad = grad.t().contiguous().t()


def negate_grad(params: list[Tensor], optimizer: RuleOptimizer) -> None:
    grad = params[6].grad
    assert grad is not None
    params[6].grad = torch.complex(torch.zeros_like(grad), grad).conj().imag  # negative by a bit alone
    assert params[6].grad.is_neg()


def sparse_grad(params: list[Tensor], optimizer: RuleOptimizer) -> None:
    grad = params[6].grad
    assert grad is not None
    params[6].grad = grad.to_sparse()


@pytest.mark.parametrize("moved", [move_data, move_state_data, replace_state, transpose_grad, negate_grad, sparse_grad])
def test_many_tensors_of_which_one_moves(moved: Callable[[list[Tensor], RuleOptimizer], None]) -> None:
    ours, theirs, a, b = pair()
    steps(ours, a, moved)
    steps(theirs, b, moved)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(momentum(ours, a), momentum(theirs, b), rtol=1e-6, atol=1e-6)


@pytest.fixture
def no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_reader", lambda: None)


@pytest.mark.parametrize("moved", [move_state_data, negate_grad])
def test_without_the_call_each_tensor_is_asked(
    no_reader: None, moved: Callable[[list[Tensor], RuleOptimizer], None]
) -> None:
    ours, theirs, a, b = pair()
    steps(ours, a, moved)
    steps(theirs, b, moved)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)

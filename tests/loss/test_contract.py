"""Every row of the table keeps the contract of a loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.loss.cases import CASES, Case
from thalweg import loss as tl

EXACT = {"rtol": 1e-12, "atol": 1e-12}

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradient(value: Tensor, output: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, output)
    return found


def quotient(loss: tl.Loss, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> Tensor:
    total, weight = loss(output, target, row_weight)
    return total / weight


@every_case
def test_equals_torchs_mean_and_its_gradient(case: Case) -> None:
    output, target = case.batch(7, generator())
    output.requires_grad_()
    ours, theirs = quotient(case.loss, output, target), case.reference(output, target)
    torch.testing.assert_close(ours, theirs, **EXACT)
    torch.testing.assert_close(gradient(ours, output), gradient(theirs, output), **EXACT)


@every_case
def test_weight_is_an_int_where_no_value_decides_it(case: Case) -> None:
    output, target = case.batch(5, generator())
    total, weight = case.loss(output, target)
    assert total.shape == ()
    assert isinstance(weight, int) == case.weight_is_int
    if isinstance(weight, Tensor):
        assert weight.shape == ()


@every_case
def test_rows_add_up_to_the_batch(case: Case) -> None:
    output, target = case.batch(6, generator())
    sums, weights = case.loss.per_row(output, target)
    total, weight = case.loss(output, target)
    assert sums.shape == (6,)
    torch.testing.assert_close(sums.sum(), total, **EXACT)
    whole = weights * 6 if isinstance(weights, int) else weights.sum()
    assert float(whole) == pytest.approx(float(weight), rel=1e-14)
    for row in range(6):  # a row's numbers do not depend on the others
        alone, _ = case.loss(output[row : row + 1], target[row : row + 1])
        torch.testing.assert_close(sums[row], alone, **EXACT)


@every_case
def test_a_mask_is_the_batch_without_those_rows(case: Case) -> None:
    output, target = case.batch(8, generator())
    output.requires_grad_()
    keep = torch.tensor([True, False, True, True, False, True, True, True])
    masked = quotient(case.loss, output, target, keep)
    without = quotient(case.loss, output[keep], target[keep])
    torch.testing.assert_close(masked, without, **EXACT)
    torch.testing.assert_close(gradient(masked, output), gradient(without, output), **EXACT)


@every_case
def test_row_weight_two_is_the_row_twice(case: Case) -> None:
    output, target = case.batch(4, generator())
    again = torch.tensor([0, 1, 1, 2, 3, 3])
    weighted = quotient(case.loss, output, target, torch.tensor([1.0, 2.0, 1.0, 2.0]))
    torch.testing.assert_close(weighted, quotient(case.loss, output[again], target[again]), **EXACT)


@every_case
def test_a_masked_row_may_hold_anything(case: Case) -> None:
    output, target = case.batch(5, generator())
    output.requires_grad_()
    keep = torch.tensor([True, True, False, True, True])
    clean = quotient(case.loss, output, target, keep)
    broken, broken_target = output.detach().clone(), target.clone()
    broken[2] = float("nan")
    broken_target[2] = float("nan") if target.is_floating_point() else 99
    broken.requires_grad_()
    masked = quotient(case.loss, broken, broken_target, keep)
    assert torch.equal(masked, clean)
    assert torch.equal(gradient(masked, broken), gradient(clean, output))


@every_case
def test_functional_gradient_agrees(case: Case) -> None:
    output, target = case.batch(5, generator())

    def value(output: Tensor) -> Tensor:
        return quotient(case.loss, output, target)

    eager = output.clone().requires_grad_()
    torch.testing.assert_close(torch.func.grad(value)(output), gradient(value(eager), eager), **EXACT)


@every_case
def test_vmap_over_members_agrees(case: Case) -> None:
    output, target = case.batch(5, generator())
    members = torch.stack([output, 0.5 * output, 1.1 * output])

    def value(output: Tensor) -> Tensor:
        return quotient(case.loss, output, target)

    stacked = torch.vmap(torch.func.grad_and_value(value))(members)
    for i, member in enumerate(members):
        grad, mean = torch.func.grad_and_value(value)(member)
        torch.testing.assert_close(stacked[0][i], grad, **EXACT)
        torch.testing.assert_close(stacked[1][i], mean, **EXACT)


@every_case
def test_compiles_as_one_graph(case: Case) -> None:
    output, target = case.batch(5, generator())
    rows = torch.tensor([1.0, 0.0, 2.0, 1.0, 1.0], dtype=torch.float64)

    def value(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return quotient(case.loss, output, target), quotient(case.loss, output, target, rows)

    torch._dynamo.reset()
    compiled = torch.compile(value, fullgraph=True, backend="eager")
    for ours, eager in zip(compiled(output, target), value(output, target), strict=True):
        torch.testing.assert_close(ours, eager, **EXACT)


@pytest.mark.parametrize("case", [c for c in CASES if c.name in ("mse", "ce-image", "bce-pos-weight")], ids=str)
def test_gradient_compiles_as_one_graph(case: Case) -> None:
    output, target = case.batch(5, generator())
    value = torch.func.grad(lambda output, target: quotient(case.loss, output, target))
    torch._dynamo.reset()
    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(output, target), value(output, target), **EXACT)


@every_case
def test_specialised_is_the_same_loss(case: Case) -> None:
    output, target = case.batch(9, generator())
    special = case.loss.specialise(output[:4], target[:4], target)
    assert special == case.loss
    total, weight = case.loss(output, target)
    special_total, special_weight = special(output, target)
    assert torch.equal(special_total, total)
    assert float(special_weight) == float(weight)


@every_case
def test_check_accepts_the_batch(case: Case) -> None:
    output, target = case.batch(6, generator())
    case.loss.check(output, target)
    case.loss.check(output, target, torch.ones(6))


@every_case
def test_predict_applies_the_inverse_link(case: Case) -> None:
    output, _ = case.batch(4, generator())
    torch.testing.assert_close(case.loss.predict(output), case.to_prediction(output), **EXACT)


@every_case
def test_plain_data_round_trip(case: Case) -> None:
    data = tl.to_dict(case.loss)
    assert all(isinstance(value, str | int | float | list) for value in data.values())
    assert tl.from_dict(data) == case.loss


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_is_summed_in_float32(case: Case, dtype: torch.dtype) -> None:
    output, target = case.batch(6, generator())
    half = output.to(dtype)
    if target.is_floating_point():
        target = target.to(dtype)
    total, _ = case.loss(half, target)
    wide = target.float() if target.is_floating_point() else target
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, case.loss(half.float(), wide)[0], rtol=0, atol=0)


@every_case
def test_no_rows_weigh_nothing(case: Case) -> None:
    output, target = case.batch(0, generator())
    total, weight = case.loss(output, target)
    assert (float(total), float(weight)) == (0.0, 0.0)


def test_a_sum_that_overflows_float16_does_not() -> None:
    output, target = torch.full((70_000,), 2.0, dtype=torch.float16), torch.zeros(70_000)
    total, weight = tl.MSE()(output, target)
    assert (float(total), weight) == (280_000.0, 70_000)


@pytest.mark.parametrize("name", ["ce", "ce-smoothing", "ce-weights", "ce-image", "nll"])
def test_all_targets_ignored_is_zero_over_zero(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    output, target = case.batch(4, generator())
    output.requires_grad_()
    total, weight = case.loss(output, torch.full_like(target, -100))
    assert (total.item(), float(weight)) == (0.0, 0.0)
    assert not gradient(total, output).any()


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32])
def test_any_integer_dtype_is_a_class_index(dtype: torch.dtype) -> None:
    output, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    loss = tl.CrossEntropy()
    loss.check(output, target.to(dtype))
    assert torch.equal(loss(output, target.to(dtype))[0], loss(output, target)[0])


@pytest.mark.parametrize("loss", [tl.MSE(), tl.MAE(), tl.Huber(), tl.BinaryCrossEntropy()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float64, torch.uint8])
def test_targets_are_converted_to_the_outputs_dtype(loss: tl.Loss, dtype: torch.dtype) -> None:
    output = torch.randn(6, requires_grad=True)
    target = torch.tensor([0, 1, 1, 0, 1, 0])
    loss.check(output, target.to(dtype))
    total, _ = loss(output, target.to(dtype))
    total.backward()
    assert total.dtype == torch.float32
    assert torch.equal(total, loss(output, target.float())[0])


def test_ignore_index_none_does_not_ignore_torchs_default() -> None:
    with pytest.raises(IndexError, match="-100 is out of bounds"):
        tl.CrossEntropy(ignore_index=None)(torch.zeros(2, 3), torch.tensor([0, -100]))

"""A user's own function: what it returns decides what may be done with it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg import loss as tl

OUTPUT, TARGET = torch.tensor([[1.0, 3.0], [0.0, 0.0], [2.0, 2.0]]), torch.zeros(3, 2)


def row_errors(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).abs().mean(1)


def mean_error(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).abs().mean()


def pair(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    counted = output != 0
    return (output - target).abs().mul(counted).sum(), counted.sum()


def positives(output: Tensor, target: Tensor) -> Tensor:
    return (output > 0).sum()


def row_positives(output: Tensor, target: Tensor) -> Tensor:
    return (output > 0).sum(1)


@pytest.mark.parametrize(
    ("loss", "total", "weight"),
    [
        (tl.Custom(row_errors), 4.0, 3),
        (tl.Custom(row_errors, weight="rows"), 4.0, 3),
        (tl.Custom(row_errors, weight=row_positives), 8.0, 4),
        (tl.Custom(mean_error), 4 / 3, 1),
        (tl.Custom(mean_error, weight="rows"), 4.0, 3),
        (tl.Custom(mean_error, weight=positives), 16 / 3, 4),
        (tl.Custom(pair), 8.0, 4),
    ],
    ids=["rows", "rows-said", "rows-weighted", "scalar", "scalar-rows", "scalar-weight", "pair"],
)
def test_sum_and_weight(loss: tl.Custom, total: float, weight: float) -> None:
    for each in (loss, loss.specialise(OUTPUT, TARGET)):
        found_total, found_weight = each(OUTPUT, TARGET)
        assert float(found_total) == pytest.approx(total, rel=1e-6)
        assert float(found_weight) == weight


@pytest.mark.parametrize(
    ("loss", "before", "after"),
    [
        (tl.Custom(row_errors), False, True),
        (tl.Custom(pair), False, True),
        (tl.Custom(mean_error), False, False),
        (tl.Custom(mean_error, weight="rows"), True, True),
        (tl.Custom(mean_error, weight=positives), True, True),
    ],
    ids=["rows", "pair", "scalar", "scalar-rows", "scalar-weight"],
)
def test_splittable_once_it_is_known(loss: tl.Custom, before: bool, after: bool) -> None:
    assert loss.splittable is before
    special = loss.specialise(OUTPUT, TARGET)
    assert special.splittable is after
    if after:
        special.require_splittable("accumulate=2")
    else:
        with pytest.raises(
            ValueError, match=r"Custom\(mean_error\): returns one number per batch, and accumulate=2 needs"
        ):
            special.require_splittable("accumulate=2")


@pytest.mark.parametrize("fn", [row_errors, pair], ids=["rows", "pair"])
def test_parts_add_up(fn: Any) -> None:
    loss = tl.Custom(fn)
    parts = [loss(OUTPUT[:1], TARGET[:1]), loss(OUTPUT[1:], TARGET[1:])]
    assert float(parts[0][0] + parts[1][0]) == pytest.approx(float(loss(OUTPUT, TARGET)[0]))
    assert float(parts[0][1] + parts[1][1]) == float(loss(OUTPUT, TARGET)[1])


def test_row_weights_need_rows() -> None:
    total, weight = tl.Custom(row_errors)(OUTPUT, TARGET, torch.tensor([2.0, 1.0, 0.0]))
    assert (float(total), float(weight)) == (4.0, 3.0)
    with pytest.raises(ValueError, match=r"Custom\(mean_error\): row weights need a loss per row"):
        tl.Custom(mean_error).check(OUTPUT, TARGET, torch.ones(3))


def test_infinite_rows_can_be_left_out() -> None:
    total, weight = tl.Custom(lambda o, y: 1 / o)(torch.tensor([0.0, 2.0]), torch.zeros(2), torch.tensor([0.0, 1.0]))
    assert (float(total), float(weight)) == (0.5, 1.0)


def test_outputs_and_targets_of_any_structure() -> None:
    def two(output: tuple[Tensor, Tensor], target: dict[str, Tensor]) -> Tensor:
        return (output[0] - target["a"]).square() + (output[1] - target["b"]).abs()

    loss = tl.Custom(two, activation=lambda output: output[0])
    output, target = (torch.tensor([1.0, 2.0]), torch.zeros(2)), {"a": torch.zeros(2), "b": torch.ones(2)}
    loss.check(output, target)
    assert loss(output, target) == (torch.tensor(7.0), 2)
    assert torch.equal(loss.predict(output), output[0])


def test_a_module_without_parameters_moves_with_the_output() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor([1.0, 2.0]))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return ((output - target) * self.scale).sum(1)

    module = Weighted()
    special = tl.adapt(module).specialise(OUTPUT, TARGET)
    assert isinstance(special, tl.Custom)
    assert special.fn is not module
    assert float(special(OUTPUT, TARGET)[0]) == 7 + 0 + 6


def test_inside_transforms_and_compiled() -> None:
    loss = tl.Custom(row_errors).specialise(OUTPUT, TARGET)

    def value(output: Tensor) -> Tensor:
        total, weight = loss(output, TARGET)
        return total / weight

    expected = OUTPUT.sign() / 6
    torch.testing.assert_close(torch.func.grad(value)(OUTPUT), expected)
    torch.testing.assert_close(torch.vmap(torch.func.grad(value))(torch.stack([OUTPUT, -OUTPUT]))[1], -expected)
    torch._dynamo.reset()
    compiled = torch.compile(value, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(OUTPUT), value(OUTPUT))


@pytest.mark.parametrize(
    ("fn", "error", "match"),
    [
        (
            lambda o, y: (o - y).abs(),
            ValueError,
            r"returned shape \(3, 2\) for a batch of 3 rows.*\.flatten\(1\)\.mean\(1\)",
        ),
        (lambda o, y: (o - y).abs().mean(0), ValueError, r"returned shape \(2,\) for a batch of 3 rows"),
        (lambda o, y: 0.5, TypeError, r"returned float, and a loss is a tensor"),
        (lambda o, y: (o.sum(), o.sum(), o.sum()), TypeError, r"returned tuple, and a loss is a tensor"),
        (lambda o, y: (o, 3), TypeError, r"returned tuple, and a loss is a tensor"),
    ],
    ids=["matrix", "columns", "float", "triple", "pair-of-matrix"],
)
def test_bad_returns(fn: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        tl.Custom(fn).check(OUTPUT, TARGET)
    with pytest.raises(error, match=match):
        tl.Custom(fn)(OUTPUT, TARGET)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"fn": 3}, TypeError, r"fn=3 must be callable"),
        ({"fn": mean_error, "weight": "row"}, ValueError, r"weight='row' must be 'rows', a callable"),
        (
            {"fn": mean_error, "activation": "sigmod"},
            ValueError,
            r"unknown activation 'sigmod'. Did you mean 'sigmoid'",
        ),
    ],
    ids=["fn", "weight", "activation"],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=f"Custom: {match}"):
        tl.Custom(**options)


def test_no_batch_dimension_anywhere() -> None:
    with pytest.raises(ValueError, match="neither target nor output holds a tensor with a batch dimension"):
        tl.Custom(lambda o, y: torch.ones(3))(torch.tensor(1.0), None)

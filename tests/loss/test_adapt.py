"""torch's modules and functions keep their own value, whatever they are split into."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.loss.cases import MODULES, Batch, module_name
from thalweg import loss as tl

EXACT = {"rtol": 1e-12, "atol": 1e-12}

every_module = pytest.mark.parametrize(("module", "batch", "activation"), MODULES, ids=module_name)


def example(batch: Callable[..., Batch], rows: int = 7) -> Batch:
    output, target = batch(rows, torch.Generator().manual_seed(3))
    return output.detach().requires_grad_(), target


def with_reduction(module: nn.Module, reduction: str) -> nn.Module:
    module = copy.deepcopy(module)
    module.reduction = reduction  # type: ignore[assignment]
    return module


@every_module
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")  # torch, of KLDivLoss
def test_the_modules_value_and_gradient(module: nn.Module, batch: Callable[..., Batch], activation: str) -> None:
    output, target = example(batch)
    loss = tl.adapt(module)
    loss.check(output, target)
    total, weight = loss(output, target)
    theirs = module(output, target)
    torch.testing.assert_close(total / weight, theirs, **EXACT)
    torch.testing.assert_close(
        torch.autograd.grad(total / weight, output)[0], torch.autograd.grad(theirs, output)[0], **EXACT
    )
    assert loss.activation == activation


@every_module
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
def test_rows_and_parts_add_up(module: nn.Module, batch: Callable[..., Batch], activation: str) -> None:
    output, target = example(batch)
    loss = tl.adapt(module)
    total, weight = loss(output, target)
    sums, weights = loss.per_row(output, target)
    torch.testing.assert_close(sums.sum(), total, **EXACT)
    assert float(7 * weights if isinstance(weights, int) else weights.sum()) == pytest.approx(float(weight), rel=1e-14)
    parts = [loss(output[part], target[part]) for part in (slice(0, 2), slice(2, 7))]
    torch.testing.assert_close(sum(part[0] for part in parts), total, **EXACT)
    assert float(sum(part[1] for part in parts)) == pytest.approx(float(weight), rel=1e-14)
    keep = torch.tensor([1, 0, 1, 1, 0, 1, 1])
    masked_total, masked_weight = loss(output, target, keep)
    left = module(output[keep.bool()], target[keep.bool()])
    torch.testing.assert_close(masked_total / masked_weight, left, **EXACT)


@every_module
def test_a_sum_stays_a_sum_and_refuses_to_be_split(
    module: nn.Module, batch: Callable[..., Batch], activation: str
) -> None:
    output, target = example(batch)
    summed = with_reduction(module, "sum")
    loss = tl.adapt(summed)
    total, weight = loss(output, target)
    torch.testing.assert_close(total, summed(output, target), **EXACT)
    assert weight == 1
    assert loss.activation == activation
    sums, weights = loss.per_row(output, target)
    torch.testing.assert_close(sums.sum(), total, **EXACT)
    assert float(weights.sum()) == pytest.approx(1, rel=1e-14)
    assert not loss.splittable
    with pytest.raises(ValueError, match="reduction='sum' has no weight to divide by, so accumulate=4 would change"):
        loss.require_splittable("accumulate=4")


@every_module
def test_the_module_is_left_as_it_was(module: nn.Module, batch: Callable[..., Batch], activation: str) -> None:
    before = module.reduction
    tl.adapt(module)(*example(batch))
    assert module.reduction == before


@every_module
def test_plain_data_round_trip(module: nn.Module, batch: Callable[..., Batch], activation: str) -> None:
    output, target = example(batch)
    for given in (module, with_reduction(module, "sum")):
        loss = tl.adapt(given)
        again = tl.from_dict(tl.to_dict(loss)).specialise(output, target)
        assert torch.equal(again(output, target)[0], loss(output, target)[0])
        assert float(again(output, target)[1]) == float(loss(output, target)[1])
        assert again.activation == loss.activation


@pytest.mark.parametrize(
    ("module", "ours"),
    [
        (nn.MSELoss(), tl.MSE()),
        (nn.L1Loss(reduction="none"), tl.MAE()),
        (nn.HuberLoss(delta=0.5), tl.Huber(delta=0.5)),
        (nn.BCEWithLogitsLoss(), tl.BinaryCrossEntropy()),
        (nn.NLLLoss(ignore_index=3), tl.NLL(ignore_index=3)),
        (
            nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]), label_smoothing=0.1),
            tl.CrossEntropy(class_weight=[1.0, 2.0], label_smoothing=0.1),
        ),
        (nn.MSELoss(reduction="sum"), tl.Total(tl.MSE())),
        (F.mse_loss, tl.MSE()),
        (F.cross_entropy, tl.CrossEntropy()),
        (functools.partial(F.cross_entropy, label_smoothing=0.1), tl.CrossEntropy(label_smoothing=0.1)),
        (functools.partial(F.huber_loss, delta=2.0, reduction="sum"), tl.Total(tl.Huber(delta=2.0))),
    ],
    ids=lambda thing: re.sub(r" at 0x[0-9a-f]+", "", str(thing)),
)
def test_what_we_have_ourselves_becomes_ours(module: Any, ours: tl.Loss) -> None:
    assert tl.adapt(module) == ours


@pytest.mark.parametrize(
    "name",
    [name for name in dir(F) if name.endswith(("_loss", "_entropy", "kl_div", "_with_logits")) and name[0] != "_"],
)
def test_every_function_of_torch_is_its_module_or_refuses(name: str) -> None:
    function = getattr(F, name)
    loss = tl.adapt(function)
    if isinstance(loss, tl.Custom):  # three and more arguments
        with pytest.raises(TypeError, match="argument"):
            loss(torch.zeros(2, 3), torch.zeros(2, 3))
    else:
        assert loss.splittable


def test_a_loss_is_itself() -> None:
    loss = tl.MSE()
    assert tl.adapt(loss) is loss
    assert tl.adapt(loss, activation="exp").activation == "exp"
    assert tl.adapt(tl.Total(loss), activation="exp").activation == "exp"
    assert tl.adapt(nn.SmoothL1Loss(), activation="exp").activation == "exp"


def test_a_users_subclass_keeps_its_own_forward() -> None:
    class Doubled(nn.MSELoss):
        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            return 2 * super().forward(input, target)

    loss = tl.adapt(Doubled())
    assert isinstance(loss, tl.Custom)
    assert loss(torch.ones(3), torch.zeros(3)) == (torch.tensor(2.0), 1)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (nn.MSELoss, TypeError, r"got the class MSELoss, and a loss is an instance; pass MSELoss\(\)"),
        (tl.CrossEntropy, TypeError, r"got the class CrossEntropy"),
        (nn.TripletMarginLoss(), TypeError, r"TripletMarginLoss takes more than \(output, target\)"),
        (nn.GaussianNLLLoss(), TypeError, r"GaussianNLLLoss takes more than \(output, target\)"),
        (3.0, TypeError, r"got float, which is neither a loss, a torch loss module, nor a callable"),
        (nn.Linear(2, 2), ValueError, r"Linear has parameters, and the optimizer would not see them"),
        (functools.partial(F.mse_loss, weight=torch.ones(2)), ValueError, r"mse_loss with weight has no module"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(given: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        tl.adapt(given)


def test_weight_for_a_loss_that_knows_its_own() -> None:
    with pytest.raises(ValueError, match="weight='rows' was given for MSELoss, which knows its own weight"):
        tl.adapt(nn.MSELoss(), weight="rows")


def test_torch_loss_says_what_it_takes() -> None:
    with pytest.raises(TypeError, match=r"CrossEntropyLoss\(\) is not one of torch's losses .* use loss.adapt"):
        tl.TorchLoss(nn.CrossEntropyLoss())


@pytest.mark.parametrize(
    ("module", "output", "target", "match"),
    [
        (nn.SmoothL1Loss(), torch.zeros(4, 1), torch.zeros(4), r"SmoothL1Loss: output has shape \(4, 1\) and target"),
        (nn.BCELoss(), torch.tensor([0.5, 2.0]), torch.zeros(2), r"BCELoss: output holds 2 at row 1, .* BCEWithLogits"),
        (nn.BCELoss(), torch.tensor([0.5]), torch.tensor([3.0]), r"BCELoss: target holds 3 at row 0"),
        (
            nn.MultiMarginLoss(),
            torch.zeros(2, 3),
            torch.tensor([0, 3]),
            r"MultiMarginLoss: target holds class 3 at row 1",
        ),
        (nn.MultiMarginLoss(), torch.zeros(3), torch.tensor([0]), r"output has shape \(3,\) and must be \(B, C\)"),
        (nn.MultiMarginLoss(), torch.zeros(2, 3), torch.zeros(2, 3), r"class indices are one per row, \(2,\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_bad_batches(module: nn.Module, output: Tensor, target: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        tl.adapt(module).check(output, target)


def test_log_probabilities_above_zero_are_noticed() -> None:
    with pytest.warns(UserWarning, match="KLDivLoss: the output holds 2, and a log-probability is at most 0"):
        tl.adapt(nn.KLDivLoss(reduction="batchmean")).check(torch.full((2, 2), 2.0), torch.full((2, 2), 0.5))

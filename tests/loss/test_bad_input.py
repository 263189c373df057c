"""What cannot work is refused before the first step, with what arrived and what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from thalweg import loss as tl

CE, BCE, MSE = tl.CrossEntropy(), tl.BinaryCrossEntropy(), tl.MSE()
NAN = float("nan")


def z(*shape: int) -> Tensor:
    return torch.zeros(*shape)


def i(*values: int) -> Tensor:
    return torch.tensor(values)


BAD_BATCHES: list[tuple[str, tl.Loss, Any, Any, type[Exception], str]] = [
    (
        "column-output",
        MSE,
        z(64, 1),
        z(64),
        ValueError,
        "MSE: output has shape (64, 1) and target (64,), and broadcasting",
    ),
    (
        "column-output-advice",
        MSE,
        z(64, 1),
        z(64),
        ValueError,
        "target.unsqueeze(1), or squeeze(1) the output in the model",
    ),
    ("column-target", MSE, z(64), z(64, 1), ValueError, "use target.squeeze(1)"),
    ("last-column", BCE, z(8, 3, 1), z(8, 3), ValueError, "use target.unsqueeze(2)"),
    ("other-shape", MSE, z(4, 2), z(4, 3), ValueError, "(4, 2) and target (4, 3), which must be equal"),
    ("classes-for-mse", MSE, z(4, 3), i(0, 1, 2, 0), ValueError, "(4, 3) and target (4,), which must be equal"),
    ("tuple-output", MSE, (z(4), z(4)), z(4), TypeError, "MSE: needs one output tensor, the model returned a tuple"),
    ("integer-output", CE, i(1, 2), i(1, 2), TypeError, "the model returned torch.int64, which has no gradient"),
    ("list-target", MSE, z(2), [0.0, 1.0], TypeError, "MSE: needs a target tensor, got list"),
    ("list-classes", CE, z(2, 3), [0, 1], TypeError, "CrossEntropy: needs a target tensor, got list"),
    ("nan-target", MSE, z(3), torch.tensor([0.0, 1.0, NAN]), ValueError, "target holds nan at row 2 (1 of 3 values"),
    ("nan-label", BCE, z(2), torch.tensor([NAN, 1.0]), ValueError, "BinaryCrossEntropy: target holds nan at row 0"),
    ("label-two", BCE, z(3), i(0, 1, 2), ValueError, "target holds 2 at row 2, and it must lie within [0, 1]"),
    ("label-minus", BCE, z(2, 2), torch.tensor([[0, 1], [-1, 1]]), ValueError, "target holds -1 at row 1"),
    ("class-high", CE, z(3, 3), i(0, 1, 3), ValueError, "holds class 3 at row 2, and the output has 3 classes (0 to 2"),
    ("class-high-advice", CE, z(3, 3), i(1, 5, 3), ValueError, "from 0, or give the model 6 outputs"),
    ("class-minus", CE, z(3, 3), i(0, -1, 2), ValueError, "holds class -1 at row 1"),
    ("class-minus-advice", CE, z(3, 3), i(0, -1, 2), ValueError, "-100 is ignored); pass ignore_index=-1 if it marks"),
    ("class-uint8", CE, z(1, 3), i(255).to(torch.uint8), ValueError, "holds class 255 at row 0"),
    ("class-image", CE, z(2, 3, 2), torch.tensor([[0, 1], [2, 9]]), ValueError, "holds class 9 at row 1"),
    (
        "ignored-not-allowed",
        tl.CrossEntropy(ignore_index=None),
        z(1, 3),
        i(-100),
        ValueError,
        "holds class -100 at row 0, and the output has 3 classes (0 to 2)",
    ),
    ("float-classes", CE, z(2, 3), z(2), TypeError, "class indices are whole numbers; pass target.long()"),
    (
        "integer-one-hot",
        CE,
        z(2, 3),
        torch.eye(3).long()[:2],
        TypeError,
        "pass target.argmax(1) for indices, or target.float()",
    ),
    (
        "nll-one-hot",
        tl.NLL(),
        z(2, 3),
        torch.eye(3)[:2],
        TypeError,
        "NLL takes class indices only; pass target.argmax(1)",
    ),
    (
        "probability",
        CE,
        z(1, 2),
        torch.tensor([[-0.5, 1.5]]),
        ValueError,
        "target holds -0.5 at row 0, and it must lie",
    ),
    ("nan-probability", CE, z(1, 2), torch.tensor([[NAN, 1.0]]), ValueError, "target holds nan at row 0"),
    ("column-classes", CE, z(4, 3), i(0, 1, 2, 0)[:, None], ValueError, "shape (4,) would fit; pass target.squeeze(1)"),
    ("no-classes", CE, z(4), i(0, 1, 1, 0), ValueError, "must hold one score per class, (B, C) with C >= 2"),
    ("one-class", CE, z(4, 1), i(0, 1, 1, 0), ValueError, "for two classes from one score use binary_cross_entropy"),
    ("tokens", CE, z(2, 5, 7), z(2, 5).long(), ValueError, "the classes must be dim 1: pass output.movedim(-1, 1)"),
    ("other-rows", CE, z(4, 3), i(0, 1), ValueError, "must have the same number of rows: 4 against 2"),
    ("scalar-target", CE, z(4, 3), torch.tensor(1), ValueError, "must have the same number of rows: 4 against 1"),
    (
        "other-dims",
        CE,
        z(4, 3, 5),
        z(4, 6).long(),
        ValueError,
        "return (B, C, d...) from the model for targets (B, d...)",
    ),
    (
        "class-weight",
        tl.CrossEntropy(class_weight=[1, 2]),
        z(1, 3),
        i(0),
        ValueError,
        "class_weight has 2 numbers and the output has 3",
    ),
    (
        "pos-weight",
        tl.BinaryCrossEntropy(pos_weight=[1, 2]),
        z(1, 3),
        z(1, 3),
        ValueError,
        "pos_weight has 2 numbers and the output (1, 3) has 3",
    ),
]


@pytest.mark.parametrize(
    ("loss", "output", "target", "error", "message"),
    [row[1:] for row in BAD_BATCHES],
    ids=[row[0] for row in BAD_BATCHES],
)
def test_bad_batch(loss: tl.Loss, output: Any, target: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        loss.check(output, target)


@pytest.mark.parametrize(
    ("row_weight", "message"),
    [
        (torch.ones(3), "row_weight has shape (3,) for a batch of 2 rows"),
        (torch.ones(2, 1), "row_weight has shape (2, 1) for a batch of 2 rows"),
        (torch.tensor([1.0, -2.0]), "row_weight holds -2 at row 1; weights must be finite and >= 0"),
        (torch.tensor([NAN, 1.0]), "row_weight holds nan at row 0"),
    ],
    ids=["rows", "column", "negative", "nan"],
)
@pytest.mark.parametrize("loss", [MSE, CE, tl.adapt(torch.nn.SmoothL1Loss())], ids=["mse", "ce", "torch"])
def test_bad_row_weight(loss: tl.Loss, row_weight: Tensor, message: str) -> None:
    target = i(0, 1) if loss is CE else z(2, 2)
    with pytest.raises(ValueError, match=re.escape(message)):
        loss.check(z(2, 2), target, row_weight)


@pytest.mark.parametrize("loss", [MSE, BCE], ids=["mse", "bce"])
def test_broadcasting_is_refused_in_a_step_too(loss: tl.Loss) -> None:
    with pytest.raises(ValueError, match="broadcasting would compare every output with every target"):
        loss(z(64, 1), z(64))


def test_row_weight_of_another_shape_in_a_step() -> None:
    with pytest.raises(ValueError, match=r"MSE: row_weight has shape \(1,\) for a batch of 2 rows"):
        MSE(z(2), z(2), torch.ones(1))


@pytest.mark.parametrize(
    ("kind", "options", "error", "match"),
    [
        (tl.Huber, {"delta": 0.0}, ValueError, r"Huber: delta=0.0 must be > 0"),
        (tl.Huber, {"delta": float("inf")}, ValueError, r"Huber: delta=inf must be > 0; choose a finite number"),
        (
            tl.CrossEntropy,
            {"label_smoothing": 1.5},
            ValueError,
            r"CrossEntropy: label_smoothing=1.5 must be >= 0 and <= 1",
        ),
        (tl.CrossEntropy, {"class_weight": [1.0, -1.0]}, ValueError, r"class_weight\[1\]=-1.0 must be >= 0"),
        (tl.CrossEntropy, {"class_weight": [[1.0]]}, ValueError, r"class_weight has shape \(1, 1\) and must be \(C,\)"),
        (
            tl.CrossEntropy,
            {"ignore_index": 0.5},
            TypeError,
            r"ignore_index=0.5 must be a whole number or None, got float",
        ),
        (
            tl.CrossEntropy,
            {"activation": "softmx"},
            ValueError,
            r"CrossEntropy: unknown activation 'softmx'. Did you mean 'softmax'",
        ),
        (tl.BinaryCrossEntropy, {"pos_weight": -1.0}, ValueError, r"pos_weight=-1.0 must be >= 0"),
        (
            tl.BinaryCrossEntropy,
            {"pos_weight": [[1.0]]},
            ValueError,
            r"pos_weight has shape \(1, 1\) and must be one number",
        ),
        (tl.BinaryCrossEntropy, {"label_smoothing": NAN}, ValueError, r"label_smoothing=nan must be"),
        (tl.L2, {"wd": -1.0}, ValueError, r"L2: wd=-1.0 must be >= 0"),
        (tl.L1, {"wd": "much"}, TypeError, r"L1: wd='much' must be a number"),
    ],
)
def test_bad_options(kind: Any, options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        kind(**options)

"""What cannot work with a token loss is refused before the first step, with what arrived and what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from thalweg import loss as tl

CE, FOCAL, KL = tl.TokenCrossEntropy(), tl.Focal(), tl.Distillation()
MIXED = tl.Distillation(hard_weight=0.5)


def z(*shape: int) -> Tensor:
    return torch.zeros(*shape)


def y(*shape: int, value: int = 0) -> Tensor:
    return torch.full(shape, value)


def head(*shape: int, classes: int = 5, width: int = 4, **options: Any) -> tl.Projected:
    return tl.Projected(z(*shape), z(classes, width), **options)


BAD: list[tuple[str, tl.TokenLoss, Any, Any, type[Exception], str]] = [
    ("outside", CE, z(2, 3, 5), y(2, 3, value=5), ValueError, "target holds class 5 at row 0, and the output has 5"),
    ("outside-head", CE, head(2, 3, 4), y(2, 3, value=7), ValueError, "or give the model 8 outputs"),
    ("minus", CE, z(2, 3, 5), y(2, 3, value=-1), ValueError, "pass ignore_index=-1 if it marks missing targets"),
    ("shape", CE, z(2, 3, 5), y(2, 4), ValueError, "the logits have shape (2, 3, 5) and the target (2, 4) of"),
    ("shape-advice", CE, head(2, 3, 4), y(6), ValueError, "where (2, 3) would fit; one target per position, the vocab"),
    ("classes-first", CE, z(2, 5, 3), y(2, 3), ValueError, "where (2, 5) would fit"),
    ("floats", CE, z(2, 3, 5), z(2, 3), TypeError, "class indices are whole numbers; pass target.long()"),
    ("one-hot", CE, z(2, 3, 5), y(2, 3, 5), TypeError, "pass target.argmax(-1) for indices, or target.float()"),
    ("probability", CE, z(1, 2), torch.tensor([[-0.5, 1.5]]), ValueError, "target holds -0.5 at row 0"),
    ("list", CE, z(1, 2), [0], TypeError, "TokenCrossEntropy: needs a target tensor, got list"),
    ("no-logits", CE, {"scores": z(1, 2)}, y(1), TypeError, "needs one output tensor, the model returned a dict"),
    ("integers", CE, y(1, 2), y(1), TypeError, "the model returned torch.int64, which has no gradient"),
    ("one-dim", CE, z(5), y(5), ValueError, "must hold one score per class of the vocabulary for each position"),
    ("shift", tl.TokenCrossEntropy(shift=True), z(6, 5), y(6), ValueError, "shift=True needs sequences, logits (B, T"),
    (
        "weights",
        tl.TokenCrossEntropy(class_weight=[1, 2]),
        z(1, 5),
        y(1),
        ValueError,
        "has 2 numbers and the vocabulary",
    ),
    ("head-width", CE, head(2, 3, 6), y(2, 3), ValueError, "(2, 3, 6) and the head's weight (5, 4), which must be"),
    ("head-advice", CE, tl.Projected(z(3, 4), z(4, 5)), y(3), ValueError, "stored as (D, V) is passed as weight.t()"),
    ("head-bias", CE, head(3, 4, bias=z(4)), y(3), ValueError, "bias has shape (4,) and must have one number for each"),
    (
        "head-dtype",
        CE,
        tl.Projected(z(3, 4), z(5, 4).double()),
        y(3),
        TypeError,
        "the hidden states are torch.float32 and the head's weight torch.float64; convert one of them",
    ),
    (
        "two-caps",
        tl.TokenCrossEntropy(softcap=30.0),
        head(3, 4, softcap=50.0),
        y(3),
        ValueError,
        "softcap=30.0 was asked for, and the model caps its logits itself at 50.0; leave one of them out",
    ),
    (
        "focal-soft",
        FOCAL,
        z(3, 5),
        z(3, 5),
        TypeError,
        "the focal loss takes class indices only; pass target.argmax(-1)",
    ),
    ("focal-alpha", tl.Focal(alpha=[1, 2]), z(3, 5), y(3), ValueError, "Focal: alpha has 2 numbers and the vocabulary"),
    (
        "no-teacher",
        KL,
        z(3, 5),
        y(3),
        ValueError,
        "is a tensor of torch.int64 and holds no teacher; pass (labels, teach",
    ),
    ("no-labels", MIXED, z(3, 5), z(3, 5), ValueError, "hard_weight=0.5 needs labels, and the target is the teacher"),
    (
        "teacher-vocabulary",
        KL,
        z(2, 3, 5),
        z(2, 3, 6),
        ValueError,
        "(2, 3, 5) and the teacher's (2, 3, 6); a teacher with another vocabulary cannot be followed",
    ),
    ("teacher-rows", MIXED, z(3, 5), (y(3), z(4, 5)), ValueError, "they are compared position by position: give both"),
    ("teacher-ints", MIXED, z(3, 5), (y(3), y(3, 5)), TypeError, "the teacher's logits are torch.int64 and must be"),
    ("soft-labels", MIXED, z(3, 5), (z(3, 5), z(3, 5)), TypeError, "class indices are needed beside a teacher"),
    (
        "no-log-probabilities",
        tl.Distillation(log_target=True),
        z(3, 5),
        z(3, 5),
        ValueError,
        "probabilities sum to 5 in the first row instead of 1; pass log_softmax(teacher / temperature)",
    ),
    (
        "projected-log-target",
        tl.Distillation(log_target=True),
        head(3, 4),
        head(3, 4),
        ValueError,
        "log_target=True means log-probabilities, and a Projected teacher makes logits",
    ),
    (
        "shift-without-labels",
        tl.Distillation(shift=True),
        z(2, 3, 5),
        z(2, 3, 5),
        ValueError,
        "shift=True says that the labels belong to the position before, and there are none",
    ),
]


@pytest.mark.parametrize(
    ("loss", "output", "target", "error", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_batch(loss: tl.TokenLoss, output: Any, target: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        loss.check(output, target)


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        (
            tl.TokenCrossEntropy,
            {"label_smoothing": 1.5},
            r"TokenCrossEntropy: label_smoothing=1.5 must be >= 0 and <= 1",
        ),
        (tl.TokenCrossEntropy, {"z_loss": -1.0}, r"TokenCrossEntropy: z_loss=-1.0 must be >= 0"),
        (tl.TokenCrossEntropy, {"softcap": 0.0}, r"TokenCrossEntropy: softcap=0.0 must be > 0.*None is no cap"),
        (tl.TokenCrossEntropy, {"class_weight": [1.0, -1.0]}, r"class_weight\[1\]=-1.0 must be >= 0"),
        (tl.Focal, {"gamma": -1.0}, r"Focal: gamma=-1.0 must be >= 0"),
        (tl.Focal, {"alpha": -0.5}, r"Focal: alpha=-0.5 must be >= 0"),
        (tl.Focal, {"alpha": [0.5, float("nan")]}, r"Focal: alpha\[1\]=nan must be >= 0"),
        (tl.Distillation, {"temperature": 0.0}, r"Distillation: temperature=0.0 must be > 0"),
        (tl.Distillation, {"hard_weight": 1.1}, r"Distillation: hard_weight=1.1 must be >= 0 and <= 1"),
    ],
)
def test_bad_options(kind: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        kind(**options)


def test_the_whole_data_is_looked_through_before_the_first_step() -> None:
    output, targets = z(2, 3, 5), y(9, 3)
    special = CE.specialise(output, targets[:2], targets)
    assert special(output, targets[:2])[1] == 6  # nothing to ignore anywhere: known without counting
    assert isinstance(special(output, targets[:2])[1], int)
    targets[8, 1] = 12
    with pytest.raises(ValueError, match=r"TokenCrossEntropy: target holds class 12 at row 8"):
        CE.specialise(output, targets[:2], targets)


def test_a_reduction_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"unknown reduction 'meen'\. Did you mean 'mean'\? Known: mean, none, sum"):
        tl.linear_cross_entropy(z(3, 4), z(5, 4), y(3), reduction="meen")  # type: ignore[arg-type]


def test_row_weights_of_another_shape_in_a_step() -> None:
    with pytest.raises(ValueError, match=r"row_weight has shape \(3,\) for a batch of 2 rows"):
        CE(head(2, 3, 4), y(2, 3), torch.ones(3))


def test_a_soft_target_that_asks_for_a_gradient() -> None:
    target = torch.full((3, 5), 0.2, requires_grad=True)
    with pytest.raises(ValueError, match=r"the soft target asks for a gradient.*; detach it, or pass logits"):
        CE(head(3, 4), target)


def test_outputs_that_hold_logits() -> None:
    class Output:
        logits = z(2, 3, 5)

    for output in (Output(), {"logits": Output.logits}, Output.logits):
        CE.check(output, y(2, 3))
        assert CE(output, y(2, 3))[0].item() == pytest.approx(6 * 1.6094379, rel=1e-6)
        assert CE.predict(output).shape == (2, 3, 5)


def test_statistics_refuse_what_they_cannot_count() -> None:
    with pytest.raises(ValueError, match=r"linear_token_statistics: k=0 must be >= 1"):
        tl.linear_token_statistics(z(3, 4), z(5, 4), y(3), k=(0,))
    with pytest.raises(TypeError, match="hits are counted of class indices"):
        tl.linear_token_statistics(z(3, 4), z(5, 4), z(3, 5))

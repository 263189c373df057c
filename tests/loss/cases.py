"""One row per loss and set of options: how to build it, what torch says, and example batches.

`reference` is torch's own function with reduction="mean", so the tests compare with an implementation that is not ours.
A tolerance of 1e-12 in float64 leaves room for the order of summation only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg import loss as tl

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Case:
    """A loss, torch's mean for the same batch, and a maker of batches of a given number of rows."""

    name: str
    loss: tl.Loss
    reference: Callable[[Tensor, Tensor], Tensor]
    batch: Callable[[int, torch.Generator], Batch]
    weight_is_int: bool = True  # known without looking at values
    to_prediction: Callable[[Tensor], Tensor] = lambda output: output

    def __str__(self) -> str:
        return self.name


def randn(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def numbers(*shape: int) -> Callable[[int, torch.Generator], Batch]:
    return lambda rows, g: (randn(rows, *shape, generator=g), 2 * randn(rows, *shape, generator=g))


def classes(count: int, *shape: int, ignored: float = 0.0, ignore_index: int = -100) -> Callable[..., Batch]:
    def batch(rows: int, g: torch.Generator) -> Batch:
        target = torch.randint(0, count, (rows, *shape), generator=g)
        drop = torch.rand(rows, *shape, generator=g) < ignored
        if rows and ignored:
            drop.view(-1)[0], drop.view(-1)[-1] = True, False  # some ignored and some not, however few rows
        return randn(rows, count, *shape, generator=g), target.masked_fill(drop, ignore_index)

    return batch


def class_probabilities(count: int, *shape: int) -> Callable[..., Batch]:
    return lambda rows, g: (
        randn(rows, count, *shape, generator=g),
        randn(rows, count, *shape, generator=g).softmax(1),
    )


def labels(*shape: int, soft: bool = False) -> Callable[..., Batch]:
    def batch(rows: int, g: torch.Generator) -> Batch:
        uniform = torch.rand(rows, *shape, generator=g, dtype=torch.float64)
        return randn(rows, *shape, generator=g), uniform if soft else uniform.round()

    return batch


def transformed(maker: Callable[..., Batch], output: Callable[[Tensor], Tensor]) -> Callable[..., Batch]:
    def batch(rows: int, g: torch.Generator) -> Batch:
        o, y = maker(rows, g)
        return output(o), y

    return batch


def softmax(output: Tensor) -> Tensor:
    return output.exp() / output.exp().sum(1, keepdim=True)


def softmax_last(output: Tensor) -> Tensor:
    return output.exp() / output.exp().sum(-1, keepdim=True)


def sigmoid(output: Tensor) -> Tensor:
    return 1 / (1 + (-output).exp())


def smoothed_bce(output: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, 0.9 * target + 0.05)


W4 = torch.tensor([0.5, 1.0, 2.0, 0.0], dtype=torch.float64)
W3 = torch.tensor([0.5, 3.0, 1.0], dtype=torch.float64)


def ce(**options: object) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda output, target: F.cross_entropy(output, target, **options)  # type: ignore[arg-type]


def tokens(count: int, length: int, ignored: float = 0.0) -> Callable[..., Batch]:
    """Classes last, as the losses over tokens have them."""
    return lambda rows, g: ((b := classes(count, length, ignored=ignored)(rows, g))[0].movedim(1, -1), b[1])


def over_tokens(function: Callable[..., Tensor], **options: object) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda output, target: function(output.reshape(-1, output.shape[-1]), target.reshape(-1), **options)


def causal(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output[:, :-1].movedim(-1, 1), target[:, 1:])


def z_loss(output: Tensor, target: Tensor) -> Tensor:
    counted = target != -100
    return F.cross_entropy(output.movedim(-1, 1), target) + 0.01 * output.logsumexp(-1)[counted].square().mean()


def soft_capped(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy((1.5 * torch.tanh(output / 1.5)).movedim(-1, 1), target)


def focal(output: Tensor, target: Tensor) -> Tensor:
    p = softmax_last(output)[target != -100].gather(1, target[target != -100][:, None])
    return -(torch.tensor([0.5, 3.0, 1.0])[target[target != -100]][:, None] * (1 - p) ** 1.5 * p.log()).mean()


def kl(output: Tensor, teacher: Tensor) -> Tensor:
    p, q = (output / 2).log_softmax(-1).flatten(0, -2), (teacher / 2).log_softmax(-1).flatten(0, -2)
    return 4 * F.kl_div(p, q, reduction="batchmean", log_target=True)


CASES = [
    Case("mse", tl.MSE(), F.mse_loss, numbers(3)),
    Case("mse-1d", tl.MSE(), F.mse_loss, numbers()),
    Case("mse-image", tl.MSE(), F.mse_loss, numbers(2, 3, 2)),
    Case("mae", tl.MAE(), F.l1_loss, numbers(3)),
    Case("huber", tl.Huber(), F.huber_loss, numbers(3)),
    Case("huber-delta", tl.Huber(delta=0.3), lambda o, y: F.huber_loss(o, y, delta=0.3), numbers(2, 2)),
    Case("ce", tl.CrossEntropy(), ce(), classes(4), False, softmax),
    Case("ce-no-ignore", tl.CrossEntropy(ignore_index=None), ce(), classes(4), True, softmax),
    Case("ce-ignored", tl.CrossEntropy(), ce(), classes(4, ignored=0.4), False, softmax),
    Case(
        "ce-ignore-class-0",
        tl.CrossEntropy(ignore_index=0),
        ce(ignore_index=0),
        classes(4, ignored=0.2, ignore_index=0),
        False,
        softmax,
    ),
    Case(
        "ce-smoothing",
        tl.CrossEntropy(label_smoothing=0.1),
        ce(label_smoothing=0.1),
        classes(4, ignored=0.3),
        False,
        softmax,
    ),
    Case(
        "ce-weights",
        tl.CrossEntropy(class_weight=[0.5, 1.0, 2.0, 0.0]),
        ce(weight=W4),
        classes(4, ignored=0.3),
        False,
        softmax,
    ),
    Case(
        "ce-weights-no-ignore",
        tl.CrossEntropy(class_weight=[0.5, 3.0, 1.0], ignore_index=None),
        ce(weight=W3),
        classes(3),
        False,
        softmax,
    ),
    Case(
        "ce-weights-smoothing",
        tl.CrossEntropy(class_weight=W3, label_smoothing=0.2),
        ce(weight=W3, label_smoothing=0.2),
        classes(3, ignored=0.3),
        False,
        softmax,
    ),
    Case(
        "ce-image",
        tl.CrossEntropy(class_weight=W3, label_smoothing=0.2),
        ce(weight=W3, label_smoothing=0.2),
        classes(3, 2, 3, ignored=0.3),
        False,
        softmax,
    ),
    Case("ce-sequence-no-ignore", tl.CrossEntropy(ignore_index=None), ce(), classes(3, 5), True, softmax),
    Case("ce-probabilities", tl.CrossEntropy(), ce(), class_probabilities(4), True, softmax),
    Case(
        "ce-probabilities-weights-smoothing",
        tl.CrossEntropy(class_weight=W3, label_smoothing=0.2),
        ce(weight=W3, label_smoothing=0.2),
        class_probabilities(3, 2),
        True,
        softmax,
    ),
    Case(
        "nll",
        tl.NLL(class_weight=W3),
        lambda o, y: F.nll_loss(o, y, W3),
        transformed(classes(3, ignored=0.3), lambda o: o.log_softmax(1)),
        False,
        softmax,
    ),
    Case(
        "nll-sequence",
        tl.NLL(ignore_index=None),
        F.nll_loss,
        transformed(classes(3, 4), lambda o: o.log_softmax(1)),
        True,
        softmax,
    ),
    Case("bce", tl.BinaryCrossEntropy(), F.binary_cross_entropy_with_logits, labels(3), True, sigmoid),
    Case("bce-1d-soft", tl.BinaryCrossEntropy(), F.binary_cross_entropy_with_logits, labels(soft=True), True, sigmoid),
    Case(
        "bce-pos-weight",
        tl.BinaryCrossEntropy(pos_weight=W3),
        lambda o, y: F.binary_cross_entropy_with_logits(o, y, pos_weight=W3),
        labels(3),
        True,
        sigmoid,
    ),
    Case(
        "bce-pos-weight-image",  # labels are dim 1; torch would take the last
        tl.BinaryCrossEntropy(pos_weight=[0.5, 3.0, 1.0]),
        lambda o, y: F.binary_cross_entropy_with_logits(o, y, pos_weight=W3[:, None, None]),
        labels(3, 2, 4),
        True,
        sigmoid,
    ),
    Case(
        "bce-one-pos-weight",
        tl.BinaryCrossEntropy(pos_weight=2.5),
        lambda o, y: F.binary_cross_entropy_with_logits(o, y, pos_weight=torch.tensor(2.5)),
        labels(1),
        True,
        sigmoid,
    ),
    Case("bce-smoothing", tl.BinaryCrossEntropy(label_smoothing=0.1), smoothed_bce, labels(3), True, sigmoid),
    Case("token-ce", tl.TokenCrossEntropy(), over_tokens(F.cross_entropy), tokens(4, 3, 0.3), False, softmax_last),
    Case("token-ce-rows", tl.TokenCrossEntropy(ignore_index=None), ce(), classes(4), True, softmax),
    Case(
        "token-ce-all-options",
        tl.TokenCrossEntropy(label_smoothing=0.2, class_weight=[0.5, 3.0, 1.0]),
        over_tokens(F.cross_entropy, weight=W3, label_smoothing=0.2),
        tokens(3, 4, 0.3),
        False,
        softmax_last,
    ),
    Case("token-ce-z", tl.TokenCrossEntropy(z_loss=0.01), z_loss, tokens(4, 3, 0.3), False, softmax_last),
    Case(
        "token-ce-softcap",
        tl.TokenCrossEntropy(softcap=1.5),
        soft_capped,
        tokens(4, 3, 0.3),
        False,
        lambda output: softmax_last(1.5 * torch.tanh(output / 1.5)),
    ),
    Case("token-ce-shift", tl.TokenCrossEntropy(shift=True), causal, tokens(4, 5, 0.3), False, softmax_last),
    Case(
        "token-ce-shift-no-ignore",
        tl.TokenCrossEntropy(shift=True, ignore_index=None),
        causal,
        tokens(4, 5),
        True,
        softmax_last,
    ),
    Case(
        "token-ce-probabilities",
        tl.TokenCrossEntropy(class_weight=W4),
        ce(weight=W4),
        class_probabilities(4),
        True,
        softmax_last,
    ),
    Case(
        "focal",
        tl.Focal(gamma=1.5, alpha=[0.5, 3.0, 1.0]),
        focal,
        tokens(3, 4, 0.3),
        False,
        softmax_last,
    ),
    Case(
        "distillation",
        tl.Distillation(temperature=2.0),
        kl,
        lambda rows, g: (randn(rows, 3, 4, generator=g), randn(rows, 3, 4, generator=g)),
        True,
        softmax_last,
    ),
]

# Modules whose value must come back exactly: (module, batch, activation).
MODULES: list[tuple[nn.Module, Callable[..., Batch], str]] = [
    (nn.MSELoss(), numbers(3), "none"),
    (nn.L1Loss(), numbers(3), "none"),
    (nn.SmoothL1Loss(beta=0.4), numbers(3), "none"),
    (nn.HuberLoss(delta=0.4), numbers(3), "none"),
    (nn.PoissonNLLLoss(), transformed(labels(2, soft=True), lambda o: o), "exp"),
    (nn.PoissonNLLLoss(log_input=False, full=True), transformed(labels(2, soft=True), Tensor.exp), "none"),
    (nn.KLDivLoss(reduction="batchmean"), transformed(class_probabilities(4), lambda o: o.log_softmax(1)), "exp"),
    (nn.KLDivLoss(log_target=True), lambda r, g: (-labels(3)(r, g)[0].abs(), -labels(3)(r, g)[0].abs()), "exp"),
    (nn.BCELoss(), transformed(labels(3), Tensor.sigmoid), "none"),
    (nn.BCELoss(weight=W3), transformed(labels(3), Tensor.sigmoid), "none"),
    (nn.BCEWithLogitsLoss(), labels(3), "sigmoid"),
    (nn.BCEWithLogitsLoss(weight=W3, pos_weight=W3), labels(3), "sigmoid"),
    (nn.HingeEmbeddingLoss(margin=0.5), lambda r, g: (labels(3)(r, g)[0], 2 * labels(3)(r, g)[1] - 1), "none"),
    (nn.SoftMarginLoss(), lambda r, g: (labels(3)(r, g)[0], 2 * labels(3)(r, g)[1] - 1), "none"),
    (nn.MultiLabelSoftMarginLoss(weight=W3), labels(3), "sigmoid"),
    (nn.MultiLabelMarginLoss(), lambda r, g: (randn(r, 3, generator=g), torch.tensor([[2, -1, -1]] * r)), "none"),
    (nn.MultiMarginLoss(p=2, weight=W4), classes(4), "none"),
    (
        nn.CrossEntropyLoss(weight=W4, label_smoothing=0.1, ignore_index=1),
        classes(4, ignored=0.2, ignore_index=1),
        "softmax",
    ),
    (nn.NLLLoss(weight=W4), transformed(classes(4, ignored=0.2), lambda o: o.log_softmax(1)), "softmax"),
]


def module_name(value: object) -> str:
    return str(value).removesuffix("()") if isinstance(value, nn.Module) else ""

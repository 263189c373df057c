"""Options of the token losses and what they mean on full logits, written with torch's own functions.

A reference takes (logits (N, V), target, teacher) and returns one number per row, (N,), all rows counted; `weight` is
what those rows add to the loss's weight. Masks, shifts and sums belong to the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg import loss as tl

V = 11
W = torch.linspace(0.0, 2.0, V, dtype=torch.float64)  # one class counts nothing
ALPHA = torch.linspace(1.0, 0.5, V, dtype=torch.float64)

Reference = Callable[[Tensor, Tensor, Tensor], Tensor]


def ones(logits: Tensor, target: Tensor) -> Tensor:
    return torch.ones(len(logits), dtype=logits.dtype)


def of_class(logits: Tensor, target: Tensor) -> Tensor:
    return W.to(logits)[target]


@dataclass(frozen=True)
class TokenCase:
    """A loss, its reference, and how to make its target from labels and a teacher's logits."""

    name: str
    loss: tl.TokenLoss
    reference: Reference
    weight: Callable[[Tensor, Tensor], Tensor] = ones
    target: Callable[[Tensor, Tensor], object] = lambda labels, teacher: labels
    masks: bool = True  # labels say what counts
    options: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def ce(**options: object) -> Reference:
    def reference(logits: Tensor, target: Tensor, teacher: Tensor) -> Tensor:
        made = {key: value.to(logits) if isinstance(value, Tensor) else value for key, value in options.items()}
        return F.cross_entropy(logits, target, reduction="none", **made)  # type: ignore[arg-type]

    return reference


def with_z(base: Reference, zeta: float, weighted: bool = False) -> Reference:
    def reference(logits: Tensor, target: Tensor, teacher: Tensor) -> Tensor:
        penalty = zeta * torch.logsumexp(logits, -1) ** 2
        return base(logits, target, teacher) + (penalty * W.to(logits)[target] if weighted else penalty)

    return reference


def capped(base: Reference, cap: float) -> Reference:
    return lambda logits, target, teacher: base(cap * torch.tanh(logits / cap), target, teacher)


def soft(base: Reference) -> Reference:
    return lambda logits, target, teacher: base(logits, teacher.softmax(-1).to(logits), teacher)  # type: ignore[arg-type]


def focal(gamma: float, alpha: Tensor | float = 1.0) -> Reference:
    def reference(logits: Tensor, target: Tensor, teacher: Tensor) -> Tensor:
        p = logits.softmax(-1).gather(1, target[:, None]).squeeze(1)
        factor = alpha.to(logits)[target] if isinstance(alpha, Tensor) else alpha
        return -factor * (1 - p) ** gamma * p.log()

    return reference


def kl(temperature: float, hard: float = 0.0, hard_loss: Reference | None = None) -> Reference:
    def reference(logits: Tensor, target: Tensor, teacher: Tensor) -> Tensor:
        log_p = (logits / temperature).log_softmax(-1)
        log_q = (teacher.to(logits) / temperature).log_softmax(-1)
        values = F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(-1)
        values = (1 - hard) * temperature**2 * values
        return values if hard_loss is None else values + hard * hard_loss(logits, target, teacher)

    return reference


def kl_of_probabilities(logits: Tensor, target: Tensor, teacher: Tensor) -> Tensor:
    """`F.kl_div` with probabilities, some of them 0, whose terms it counts as 0."""
    return F.kl_div(logits.log_softmax(-1), sparse(teacher).to(logits), reduction="none").sum(-1)


def sparse(teacher: Tensor) -> Tensor:
    q = teacher.softmax(-1) * (torch.arange(teacher.shape[-1]) % 3 > 0)
    return q / q.sum(-1, keepdim=True)


def weighted_kl(logits: Tensor, target: Tensor, teacher: Tensor) -> Tensor:
    hard = ce(weight=W, label_smoothing=0.1)(logits, target, teacher)
    return 0.7 * W.to(logits)[target] * kl(1.0)(logits, target, teacher) + 0.3 * hard


def pair(labels: Tensor, teacher: Tensor) -> object:
    return labels, teacher


CE = tl.TokenCrossEntropy
CASES = [
    TokenCase("plain", CE(), ce()),
    TokenCase("smoothing", CE(label_smoothing=0.1), ce(label_smoothing=0.1)),
    TokenCase("all-smoothing", CE(label_smoothing=1.0), ce(label_smoothing=1.0)),
    TokenCase("weights", CE(class_weight=W.tolist()), ce(weight=W), of_class),
    TokenCase(
        "weights-smoothing",
        CE(class_weight=W.tolist(), label_smoothing=0.2),
        ce(weight=W, label_smoothing=0.2),
        of_class,
    ),
    TokenCase("z-loss", CE(z_loss=0.03), with_z(ce(), 0.03)),
    TokenCase("softcap", CE(softcap=1.7), capped(ce(), 1.7)),
    TokenCase(
        "everything",
        CE(class_weight=W.tolist(), label_smoothing=0.2, z_loss=0.03, softcap=1.7),
        capped(with_z(ce(weight=W, label_smoothing=0.2), 0.03, weighted=True), 1.7),
        of_class,
    ),
    TokenCase("soft", CE(), soft(ce()), target=lambda y, t: t.softmax(-1), masks=False),
    TokenCase(
        "soft-everything",
        CE(class_weight=W.tolist(), label_smoothing=0.2, z_loss=0.03, softcap=1.7),
        capped(with_z(soft(ce(weight=W, label_smoothing=0.2)), 0.03), 1.7),
        target=lambda y, t: t.softmax(-1),
        masks=False,
    ),
    TokenCase("focal", tl.Focal(gamma=2.0), focal(2.0)),
    TokenCase("focal-0", tl.Focal(gamma=0.0), ce()),
    TokenCase("focal-root-alpha", tl.Focal(gamma=0.5, alpha=0.25), focal(0.5, 0.25)),
    TokenCase(
        "focal-alphas-softcap",
        tl.Focal(gamma=1.0, alpha=ALPHA.tolist(), softcap=2.0),
        capped(focal(1.0, ALPHA), 2.0),
    ),
    TokenCase("focal-weights", tl.Focal(gamma=3.0, class_weight=W.tolist()), focal(3.0, W), of_class),
    TokenCase("distillation", tl.Distillation(), kl(1.0), target=lambda y, t: t, masks=False),
    TokenCase("distillation-masked", tl.Distillation(temperature=3.0), kl(3.0), target=pair),
    TokenCase(
        "distillation-mixed",
        tl.Distillation(temperature=2.0, hard_weight=0.4, label_smoothing=0.1, z_loss=0.03, softcap=1.7),
        capped(kl(2.0, 0.4, with_z(ce(label_smoothing=0.1), 0.03)), 1.7),
        target=pair,
    ),
    TokenCase(
        "distillation-weights",
        tl.Distillation(hard_weight=0.3, class_weight=W.tolist(), label_smoothing=0.1),
        weighted_kl,
        of_class,
        target=pair,
    ),
    TokenCase("distillation-hard-only", tl.Distillation(hard_weight=1.0), ce(), target=pair),
    TokenCase(
        "distillation-log-target",
        tl.Distillation(log_target=True),
        kl_of_probabilities,
        target=lambda y, t: (y, sparse(t).log()),  # log 0 is -inf
    ),
]

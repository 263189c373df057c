"""Over which rates a finder sweeps, by the rule's own scale."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["RANGES", "rate_range"]

# Rules whose step follows the gradient's size sweep high; rules that divide by it take steps of about the rate itself,
# so 1 is already absurd. A sign update (Lion) is as long as Adam's longest, and its usual rates are
# 3 to 10 times lower.
RANGES: dict[str, tuple[float, float]] = {
    "sgd": (1e-6, 10.0),
    "schedulefreesgd": (1e-6, 10.0),
    "asgd": (1e-6, 10.0),
    "adagrad": (1e-6, 10.0),
    "adadelta": (1e-4, 1e3),
    "lion": (1e-8, 1e-1),
    "muon": (1e-6, 10.0),
}
_UNIT_STEP = (1e-7, 1.0)  # Adam and its relatives, RMSprop, Adafactor, Adamax, Rprop


def rate_range(optimizer: torch.optim.Optimizer, pretrained: bool = False) -> tuple[float, float]:
    """Return (lowest, highest) rate of a sweep for this optimizer.

    A pretrained model leaves its weights at rates that train a fresh one, so its range ends a hundred times lower and
    begins ten times lower.

    Args:
        optimizer: ours or torch's; a wrapped rule (Lookahead, Averaged) counts as the one inside.
        pretrained: whether the weights come from an earlier training.

    >>> import thalweg as tw
    >>> rate_range(tw.optim.SGD(lr=0.1).optimizer([torch.nn.Parameter(torch.zeros(1))]))
    (1e-06, 10.0)
    """
    kind: Any = getattr(optimizer, "rule", optimizer)
    while hasattr(kind, "rule"):
        kind = kind.rule
    low, high = RANGES.get(type(kind).__name__.lower(), _UNIT_STEP)
    return (low / 10, high / 100) if pretrained else (low, high)

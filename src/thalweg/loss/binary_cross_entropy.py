"""Binary cross entropy, on logits."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.errors import check_number
from thalweg.loss.activation import Activation
from thalweg.loss.checks import check_finite_targets, check_unit_interval
from thalweg.loss.elementwise import Elementwise
from thalweg.loss.loss import full_precision
from thalweg.loss.notices import notice_sigmoid

__all__ = ["BinaryCrossEntropy"]


@dataclass(frozen=True)
class BinaryCrossEntropy(Elementwise):
    r"""Cross entropy of independent yes/no labels between the sigmoid of the output and the target, in nats.

    .. math::
        \ell(o, y) = -\,[\, p_w \, y' \log \sigma(o) + (1 - y') \log(1 - \sigma(o)) \,] \qquad
        y' = (1 - \varepsilon) \, y + \varepsilon / 2

    ``sum / weight`` is that of ``torch.nn.BCEWithLogitsLoss``: the mean over the elements, also with ``pos_weight``.

    Args:
        pos_weight: :math:`p_w` >= 0, how much a positive counts against a negative: one number, or K numbers, one per
            label; labels are dim 1 of the output.
        label_smoothing: :math:`\varepsilon`, 0 to 1; moves targets towards 1/2 (as in Keras; torch has none).

    Shapes: output and target alike, (B), (B, 1) or (B, K, ...); targets 0 to 1 of any dtype. The weight is the number
    of elements.

    Raises:
        ValueError: a negative pos_weight, label_smoothing outside [0, 1]; from ``check``: shapes that differ, targets
            outside [0, 1], K numbers for another number of labels.

    Warns:
        UserWarning: from ``check``: the output already went through a sigmoid.

    >>> import torch
    >>> BinaryCrossEntropy()(torch.tensor([0.0, 2.0]), torch.tensor([1, 1]))
    (tensor(0.8201), 2)
    """

    pos_weight: float | Sequence[float] | None = None
    label_smoothing: float = 0.0
    activation: Activation = field(default="sigmoid", kw_only=True, repr=False)
    _pos_weight: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("BinaryCrossEntropy", "label_smoothing", self.label_smoothing, low=0.0, high=1.0)
        if self.pos_weight is None:
            return
        weights = torch.as_tensor(self.pos_weight, dtype=torch.float64, device="cpu")
        if weights.dim() > 1:
            raise ValueError(
                f"BinaryCrossEntropy: pos_weight has shape {tuple(weights.shape)} and must be one number or (K,), "
                "one per label (dim 1 of the output); pass it flat."
            )
        for value in weights.reshape(-1).tolist():
            check_number(
                "BinaryCrossEntropy",
                "pos_weight",
                value,
                low=0.0,
                high=math.inf,
                high_open=True,
                advice="choose a finite number",
            )
        plain = weights.tolist()
        object.__setattr__(self, "pos_weight", tuple(plain) if weights.dim() else plain)
        object.__setattr__(self, "_pos_weight", weights)

    def elements(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        if self.label_smoothing:
            target = target * (1.0 - self.label_smoothing) + self.label_smoothing / 2
        weight = self._pos_weight
        if weight is not None:
            weight = weight.to(device=output.device, dtype=output.dtype)  # no-op once specialised
            if weight.dim() and output.dim() > 2:
                weight = weight.view(-1, *(1,) * (output.dim() - 2))
        return F.binary_cross_entropy_with_logits(output, target, pos_weight=weight, reduction=reduction)

    def check(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> None:
        super().check(output, target, row_weight)
        if self._pos_weight is not None and self._pos_weight.dim():
            labels = output.shape[1] if output.dim() > 1 else 1
            if len(self._pos_weight) != labels:
                raise ValueError(
                    f"BinaryCrossEntropy: pos_weight has {len(self._pos_weight)} numbers and the output "
                    f"{tuple(output.shape)} has {labels} labels (dim 1); give each label one number, or all of them "
                    "one."
                )
        notice_sigmoid("BinaryCrossEntropy", output)

    def check_targets(self, target: Tensor) -> None:
        check_finite_targets("BinaryCrossEntropy", target)
        check_unit_interval(
            "BinaryCrossEntropy", "target", target, "labels are 0 or 1; for several exclusive classes use cross_entropy"
        )

    def specialise(self, output: Tensor, target: Tensor, targets: Tensor | None = None) -> BinaryCrossEntropy:
        super().specialise(output, target, targets)
        special = copy.copy(self)
        if self._pos_weight is not None:
            ready = full_precision(output)
            object.__setattr__(special, "_pos_weight", self._pos_weight.to(device=ready.device, dtype=ready.dtype))
        return special

"""Negative log-likelihood of classes, on log-probabilities."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from thalweg.loss.class_targets import ClassLoss

__all__ = ["NLL"]


@dataclass(frozen=True, kw_only=True)
class NLL(ClassLoss):
    r"""Negative log-likelihood of class indices for a model that ends in ``log_softmax``.

    .. math:: \ell(o, y) = -w_y \, o_y \qquad o = \log p

    ``sum / weight`` is that of ``torch.nn.NLLLoss``, except that a batch whose targets are all ignored gives (0, 0).
    ``predict`` applies softmax, which turns log-probabilities into probabilities. With logits use ``CrossEntropy``.

    Args:
        ignore_index: The target value that does not count, or None.
        class_weight: C numbers >= 0, or None for 1.

    Shapes: output (B, C) or (B, C, d1, ...), C >= 2; target class indices (B) or (B, d1, ...) of any integer dtype.

    Raises:
        ValueError: a negative class weight; from ``check``: shapes that do not fit, a class index out of range.
        TypeError: from ``check``: targets that are floats.

    Warns:
        UserWarning: from ``check``: the output holds numbers above 0, which no log-probability is.

    >>> import torch
    >>> NLL(ignore_index=None)(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([1]))
    (tensor(0.2877), 1)
    """

    def positions(self, output: Tensor, target: Tensor, class_weight: Tensor | None, reduction: str) -> Tensor:
        return F.nll_loss(output, target, class_weight, ignore_index=self._ignored, reduction=reduction)

    def check(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> None:
        super().check(output, target, row_weight)
        if output.numel() and float(output.detach().max()) > 1e-3:
            warnings.warn(
                f"NLL: the output holds {float(output.detach().max()):g}, and a log-probability is at most 0, so the "
                "model seems to lack its log_softmax and the loss has no lower bound; use cross_entropy for logits.",
                UserWarning,
                stacklevel=2,
            )

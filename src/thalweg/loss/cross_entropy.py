"""Cross entropy over classes, on logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from thalweg.errors import check_number
from thalweg.loss.class_targets import ClassLoss
from thalweg.loss.notices import notice_probabilities

__all__ = ["CrossEntropy"]


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(ClassLoss):
    r"""Cross entropy between the softmax of the output and the target, in nats.

    .. math::
        \ell(o, y) = -\sum_c q_c \log p_c \qquad p = \operatorname{softmax}(o), \quad
        q_c = (1 - \varepsilon) [c = y] + \varepsilon / C

    and, with class weights, :math:`\sum_i \sum_c w_c q_{ic} (-\log p_{ic}) / \sum_i w_{y_i}` over the targets that
    are not ignored: exactly ``torch.nn.CrossEntropyLoss``, except that a batch whose targets are all ignored gives
    (0, 0) and counts as loss 0 with gradient 0, where torch gives NaN.

    Args:
        label_smoothing: :math:`\varepsilon`, the share of the target spread evenly over all classes, 0 to 1.
        ignore_index: The target value that does not count, or None. -100 as in torch. Class indices only.
        class_weight: C numbers >= 0, or None for 1.

    Shapes: output (B, C) or (B, C, d1, ...), C >= 2. Target either class indices 0 to C - 1, (B) or (B, d1, ...) of any
    integer dtype, or class probabilities of the output's shape, floating point; then the weight is the number of
    positions, whatever the class weights (as in torch).

    Raises:
        ValueError: label_smoothing outside [0, 1], a negative class weight; from ``check``: shapes that do not fit, a
            class index out of range, a probability outside [0, 1].
        TypeError: from ``check``: class indices that are floats, one-hot targets that are integers.

    Warns:
        UserWarning: from ``check``: the output already went through a softmax.

    Source (label smoothing): C. Szegedy et al., Rethinking the Inception architecture for computer vision, CVPR 2016,
    section 7.

    >>> import torch
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 3.0]])
    >>> total, weight = CrossEntropy()(logits, torch.tensor([0, 1, -100]))
    >>> total, weight
    (tensor(0.8201), tensor(2))
    >>> CrossEntropy(ignore_index=None)(logits, torch.tensor([0, 1, 1]))
    (tensor(0.9470), 3)
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("CrossEntropy", "label_smoothing", self.label_smoothing, low=0.0, high=1.0)

    def positions(self, output: Tensor, target: Tensor, class_weight: Tensor | None, reduction: str) -> Tensor:
        return F.cross_entropy(
            output,
            target,
            class_weight,
            ignore_index=self._ignored,
            reduction=reduction,
            label_smoothing=self.label_smoothing,
        )

    def check(self, output: Tensor, target: Tensor, row_weight: Tensor | None = None) -> None:
        super().check(output, target, row_weight)
        notice_probabilities("CrossEntropy", output)

    def check_shapes(self, output: Tensor, target: Tensor) -> None:
        probabilities = target.shape == output.shape and target.is_floating_point()
        if not (probabilities and output.dim() >= 2 and output.shape[1] > 1):
            super().check_shapes(output, target)

r"""Focal loss: what is already predicted well counts less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import check_number
from thalweg.loss.class_targets import class_weights
from thalweg.loss.focal_rows import FocalRows
from thalweg.loss.projected import Projected
from thalweg.loss.token_batch import Tokens, scores_of
from thalweg.loss.token_loss import TokenLoss

__all__ = ["Focal"]


@dataclass(frozen=True, kw_only=True)
class Focal(TokenLoss):
    r"""Focal loss of the softmax over the classes, in nats.

    .. math:: \ell(o, y) = -\alpha_y (1 - p_y)^\gamma \log p_y \qquad p = \operatorname{softmax}(o)

    The classes are the last dim of the output, so it serves (N, C) classification as well as tokens. ``gamma=0`` is
    cross entropy. As in the source, :math:`\alpha` changes the sum and not the weight, which is the number of
    positions that count; ``class_weight`` changes both, so that ``sum / weight`` stays a weighted mean.

    Args:
        gamma: :math:`\gamma` >= 0, the focus: a position predicted with probability p counts :math:`(1 - p)^\gamma`.
        alpha: :math:`\alpha`: one number >= 0, V numbers >= 0, or None for 1.
        ignore_index: The target value that does not count, or None.
        class_weight: V numbers >= 0, or None for 1.
        softcap: :math:`c` > 0: logits count as :math:`c \tanh(o / c)`. None: as they are.
        shift: Compare the output at t with the target at t + 1.

    Shapes: output (B, T, V), (N, V) or a ``Projected`` of that shape; target (B, T) or (N,) class indices.

    Raises:
        ValueError: an option out of range; from ``check``: shapes that do not fit, an index outside of the vocabulary.
        TypeError: from ``check``: a target that is not class indices.

    Source: T.-Y. Lin et al., Focal loss for dense object detection, ICCV 2017, sections 3.1 and 3.2.

    >>> import torch
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> Focal(gamma=2.0)(logits, torch.tensor([0, 1]))
    (tensor(0.1751), tensor(2))
    """

    gamma: float = 2.0
    alpha: float | Sequence[float] | None = None
    _alphas: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        alpha = self.alpha
        if isinstance(alpha, Sequence) or (isinstance(alpha, Tensor) and alpha.dim() > 0):
            alphas = class_weights("Focal", alpha, "alpha")
            self._set(alpha=tuple(alphas.tolist()), _alphas=alphas)
        elif alpha is not None:
            check_number("Focal", "alpha", alpha, low=0.0, high=float("inf"), high_open=True)

    def form(self) -> FocalRows:
        return FocalRows(gamma=self.gamma, softcap=self.softcap)

    def specialise(self, output: Any, target: Any, targets: Tensor | None = None) -> Focal:
        special = super().specialise(output, target, targets)
        assert isinstance(special, Focal)
        if self._alphas is not None:
            special._set(_alphas=self._alphas_for(scores_of(output)))
        return special

    def check(self, output: Any, target: Any, row_weight: Tensor | None = None) -> None:
        classes = getattr(scores_of(output), "shape", (0,))[-1]
        if self._alphas is not None and len(self._alphas) != classes:
            raise ValueError(
                f"Focal: alpha has {len(self._alphas)} numbers and the vocabulary has {classes}; each class needs one "
                "number, or pass a single one for all."
            )
        super().check(output, target, row_weight)

    def check_labels(self, output: Tensor | Projected, labels: Any) -> None:
        if isinstance(labels, Tensor) and labels.shape == output.shape:
            raise TypeError(
                f"Focal: the target has the logits' shape {tuple(output.shape)}, and the focal loss takes class "
                "indices only; pass target.argmax(-1)."
            )
        super().check_labels(output, labels)

    def _batch(self, output: Any, target: Any, row_weight: Tensor | None) -> Tokens:
        batch = super()._batch(output, target, row_weight)
        if self.alpha is None:
            return batch
        if self._alphas is None:
            like = batch.output.hidden if isinstance(batch.output, Projected) else batch.output
            factor = torch.full((1,), float(self.alpha), device=like.device).expand(batch.output.shape[-1])  # type: ignore[arg-type]
        else:
            factor = self._alphas_for(batch.output)
        return batch._replace(rows=batch.rows._replace(class_factor=factor))

    def _alphas_for(self, output: Tensor | Projected) -> Tensor:
        """Return the numbers per class on the output's device, in the dtype that its rows are summed in."""
        assert self._alphas is not None
        like = output.hidden if isinstance(output, Projected) else output
        wide = torch.float32 if like.dtype in (torch.float16, torch.bfloat16) else like.dtype
        return self._alphas.to(device=like.device, dtype=wide)

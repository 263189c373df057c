r"""Focal loss of a row of logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from thalweg.loss.cross_entropy_rows import log_softmax_
from thalweg.loss.token_rows import RowForm, Rows

__all__ = ["FocalRows"]


@dataclass(frozen=True, kw_only=True)
class FocalRows(RowForm):
    r"""Focal loss of a row.

    .. math::
        \ell = -\alpha_y w_y (1 - p_y)^\gamma \log p_y \qquad
        \frac{\partial \ell}{\partial o_c} = \alpha_y w_y k (p_c - [c = y]), \quad
        k = (1 - p_y)^\gamma - \gamma p_y (1 - p_y)^{\gamma - 1} \log p_y

    with :math:`\alpha` the class factor and :math:`w` the class weight of ``Rows``.

    Args:
        gamma: :math:`\gamma` >= 0, finite; 0 is cross entropy.
        softcap: see ``RowForm``.
    """

    who: ClassVar[str] = "Focal"
    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_option("gamma", self.gamma, advice="2 is usual, 0 is cross entropy")

    def row_values(self, logits: Tensor, rows: Rows) -> Tensor:
        assert rows.target is not None
        log_p = torch.log_softmax(logits, -1).gather(-1, rows.target[:, None]).squeeze(-1)
        # at p = 1 both the value and its derivative are 0, where autograd of a power below 1 would say 0 * inf
        sure = log_p >= 0.0
        miss = -torch.expm1(torch.where(sure, -1.0, log_p))
        values = torch.where(sure, 0.0, -(miss**self.gamma) * log_p) if self.gamma else -log_p
        chosen = _of_class(rows)
        return values if chosen is None else values * chosen

    def row_differentiate_(self, logits: Tensor, rows: Rows) -> tuple[Tensor, Tensor | None]:
        assert rows.target is not None
        index = rows.target[:, None]
        log_p = log_softmax_(logits)
        log_py = log_p.gather(1, index).squeeze(1)
        miss = -torch.expm1(log_py)  # 1 - p_y without its cancellation
        power = miss**self.gamma
        # p (1-p)^(γ-1) log p tends to 0 with 1-p; the quotient is taken where it exists
        ratio = torch.where(miss > 0, log_py / torch.where(miss > 0, miss, 1.0), -1.0)
        slope = power * (1.0 - self.gamma * log_py.exp() * ratio)
        values = -power * log_py
        chosen = _of_class(rows)
        if chosen is not None:
            values, slope = values * chosen, slope * chosen
        log_p.exp_().scatter_add_(1, index, -torch.ones_like(slope)[:, None])
        return values, slope


def _of_class(rows: Rows) -> Tensor | None:
    """Return what each row's value is multiplied with for its class, (R,), or None for 1."""
    assert rows.target is not None
    found: Tensor | None = None
    for per_class in (rows.class_weight, rows.class_factor):
        if per_class is not None:
            found = per_class[rows.target] if found is None else found * per_class[rows.target]
    return found

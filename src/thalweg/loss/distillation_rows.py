r"""Distillation of a row of logits: the teacher's distribution, mixed with the hard loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from thalweg.loss.cross_entropy_rows import CrossEntropyRows, log_softmax_
from thalweg.loss.token_rows import RowForm, Rows

__all__ = ["DistillationRows"]


@dataclass(frozen=True, kw_only=True)
class DistillationRows(RowForm):
    r"""Kullback-Leibler divergence from the teacher's distribution, and cross entropy with the label.

    .. math::
        \ell = (1 - \eta)\, T^2 w_y \sum_c q_c (\log q_c - \log p_c) + \eta\, \ell_{\text{hard}} \qquad
        p = \operatorname{softmax}(o / T), \quad q = \operatorname{softmax}(t / T)

    The derivative of the first term is :math:`(1 - \eta)\, T w_y (p - q)` where :math:`q` sums to 1.

    Args:
        temperature: :math:`T` > 0, finite.
        hard_weight: :math:`\eta`, 0 to 1.
        log_target: The teacher's numbers are :math:`\log q` already.
        label_smoothing: of the hard loss.
        z_loss: of the hard loss.
        softcap: of the student's logits, see ``RowForm``.
        teacher_softcap: of the teacher's, or None.
    """

    who: ClassVar[str] = "Distillation"
    temperature: float = 1.0
    hard_weight: float = 0.0
    log_target: bool = False
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    teacher_softcap: float | None = None
    _hard: CrossEntropyRows = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_option("temperature", self.temperature, low_open=True)
        self.check_option("hard_weight", self.hard_weight, high=1.0, high_open=False)
        self.check_option("label_smoothing", self.label_smoothing, high=1.0, high_open=False)
        self.check_option("z_loss", self.z_loss)
        hard = CrossEntropyRows(label_smoothing=self.label_smoothing, z_loss=self.z_loss)
        object.__setattr__(self, "_hard", hard)

    def teacher_log_probabilities(self, rows: Rows, like: Tensor) -> Tensor:
        r"""Return :math:`\log q`, (R, V), in the dtype of *like*."""
        assert rows.teacher is not None
        teacher = rows.teacher.to(like.dtype)
        if self.teacher_softcap is not None:
            teacher = self.teacher_softcap * torch.tanh(teacher / self.teacher_softcap)
        if self.log_target:
            return teacher
        return torch.log_softmax(teacher if self.temperature == 1.0 else teacher / self.temperature, -1)

    def row_values(self, logits: Tensor, rows: Rows) -> Tensor:
        log_q = self.teacher_log_probabilities(rows, logits)
        q = log_q.exp()
        log_p = torch.log_softmax(logits / self.temperature, -1)
        # 0 log 0 is 0
        terms = torch.where(q > 0, q * (log_q - log_p), 0.0)
        values = terms.sum(-1) * ((1.0 - self.hard_weight) * self.temperature**2)
        if rows.class_weight is not None and rows.target is not None:
            values = values * rows.class_weight[rows.target]
        if self.hard_weight:
            values = values + self.hard_weight * self._hard.row_values(logits, rows)
        return values

    def row_differentiate_(self, logits: Tensor, rows: Rows) -> tuple[Tensor, Tensor | None]:
        if self.hard_weight == 1.0:
            return self._hard.row_differentiate_(logits, rows)
        hard: Tensor | None = None
        values: Tensor | float = 0.0
        if self.hard_weight:
            hard = logits.clone()
            hard_values, scale = self._hard.row_differentiate_(hard, rows)
            values = hard_values * self.hard_weight
            hard.mul_(self.hard_weight if scale is None else (scale * self.hard_weight)[:, None])
        soft, temperature = 1.0 - self.hard_weight, self.temperature
        if temperature != 1.0:
            logits.div_(temperature)
        log_q = self.teacher_log_probabilities(rows, logits)
        log_p = log_softmax_(logits)
        q = log_q.exp()
        gap = torch.sub(log_q, log_p)
        gradient = log_p.exp_()
        if self.log_target:  # taken as they are given: 0 log 0 is 0, and a sum that is not quite 1 counts
            gap.masked_fill_(q == 0, 0.0)
            gradient.mul_(q.sum(1)[:, None])
        divergence = torch.linalg.vecdot(q, gap).mul_(soft * temperature**2)
        gradient.sub_(q)
        weight = None if rows.class_weight is None or rows.target is None else rows.class_weight[rows.target]
        if weight is not None:
            divergence = divergence * weight
        if hard is None:
            factor = torch.full_like(divergence, soft * temperature)
            return divergence, factor if weight is None else factor.mul_(weight)
        gradient.mul_(soft * temperature if weight is None else (weight * (soft * temperature))[:, None]).add_(hard)
        return divergence + values, None

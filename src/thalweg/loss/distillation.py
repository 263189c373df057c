r"""Knowledge distillation: follow a teacher's distribution, and the labels as far as wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.loss.distillation_rows import DistillationRows
from thalweg.loss.projected import Projected
from thalweg.loss.token_batch import scores_of
from thalweg.loss.token_loss import TokenLoss, check_head

__all__ = ["Distillation"]

_LOOKED_AT = 256


@dataclass(frozen=True, kw_only=True)
class Distillation(TokenLoss):
    r"""Kullback-Leibler divergence from a teacher's softened distribution, mixed with the hard loss, in nats.

    .. math::
        \ell = (1 - \eta)\, T^2\, w_y \operatorname{KL}(q \,\|\, p) + \eta\, \ell_{\text{hard}}(o, y) \qquad
        p = \operatorname{softmax}(o / T), \quad q = \operatorname{softmax}(t / T)

    with the hard loss that of ``TokenCrossEntropy``. The factor :math:`T^2` keeps the two gradients' sizes in
    proportion when the temperature changes (section 2 of the source). At T = 1 and :math:`\eta = 0` the sum is
    ``F.kl_div(log_softmax(o), log_softmax(t), log_target=True, reduction="sum")``. No gradient flows into the teacher.

    Args:
        temperature: :math:`T` > 0 for student and teacher; 1 leaves the logits as they are, 2 to 4 is usual.
        hard_weight: :math:`\eta`, 0 to 1: the share of the hard loss; 1 - ``hard_weight`` is the teacher's.
        log_target: True: the teacher's numbers are log-probabilities, at the temperature already, and are taken as
            they are. False: they are logits. (``F.kl_div`` has probabilities there where ``log_target`` is False.)
        label_smoothing: of the hard loss, 0 to 1.
        z_loss: of the hard loss, >= 0.
        ignore_index: Labels with this value do not count, for the teacher's part neither. None: every position counts.
        class_weight: V numbers >= 0, by label; or None for 1.
        softcap: :math:`c` > 0: the student's logits count as :math:`c \tanh(o / c)`. None: as they are.
        shift: The labels belong to the position before (see ``TokenLoss``); the teacher's logits are taken at the same
            positions as the student's.

    Shapes: output (B, T, V), (N, V) or a ``Projected`` of that shape. Target ``(labels, teacher)``, a mapping of
    ``labels`` and ``teacher``, or the teacher alone where ``hard_weight`` is 0; labels (B, T) or (N,), the teacher of
    the output's shape, or a ``Projected`` of that shape where the output is one too.

    Raises:
        ValueError: an option out of range; no teacher or no labels; from ``check``: a teacher with another vocabulary,
            ``log_target`` with numbers that are not log-probabilities.

    Source: G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, arXiv:1503.02531, section 2.

    >>> import torch
    >>> student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> Distillation()(student, teacher)
    (tensor(1.0068), 1)
    >>> Distillation(temperature=2.0, hard_weight=0.5)(student, (torch.tensor([0]), teacher))
    (tensor(0.6092), tensor(1))
    """

    temperature: float = 1.0
    hard_weight: float = 0.0
    log_target: bool = False
    label_smoothing: float = 0.0
    z_loss: float = 0.0

    def form(self) -> DistillationRows:
        return DistillationRows(
            temperature=self.temperature,
            hard_weight=self.hard_weight,
            log_target=self.log_target,
            label_smoothing=self.label_smoothing,
            z_loss=self.z_loss,
            softcap=self.softcap,
        )

    def parts_of(self, target: Any) -> tuple[Tensor | None, Tensor | Projected | None]:
        labels, teacher = _labels_and_teacher(target)
        if teacher is None:
            raise ValueError(
                f"Distillation: the target is {_described(target)} and holds no teacher; pass (labels, teacher logits)."
            )
        if labels is None and self.hard_weight:
            raise ValueError(
                f"Distillation: hard_weight={self.hard_weight} needs labels, and the target is the teacher alone; pass "
                "(labels, teacher), or hard_weight=0."
            )
        if labels is None and self.shift:
            raise ValueError(
                "Distillation: shift=True says that the labels belong to the position before, and there are none; "
                "leave it out: student and teacher are compared at the same positions."
            )
        return labels, teacher

    def check(self, output: Any, target: Any, row_weight: Tensor | None = None) -> None:
        student = scores_of(output)
        _, teacher = self.parts_of(target)
        assert teacher is not None
        shape = getattr(student, "shape", None)
        if shape is not None and tuple(teacher.shape) != tuple(shape):
            vocabulary = (
                "a teacher with another vocabulary cannot be followed"
                if teacher.shape[-1] != shape[-1]
                else ("they are compared position by position")
            )
            raise ValueError(
                f"Distillation: the student's logits have shape {tuple(shape)} and the teacher's "
                f"{tuple(teacher.shape)}; {vocabulary}: give both the same."
            )
        if isinstance(teacher, Projected):
            check_head("Distillation", teacher, "teacher's head")
            if self.log_target:
                raise ValueError(
                    "Distillation: log_target=True means log-probabilities, and a Projected teacher makes logits; "
                    "leave log_target out."
                )
        elif not teacher.is_floating_point():
            raise TypeError(f"Distillation: the teacher's logits are {teacher.dtype} and must be floats.")
        elif self.log_target:
            sums = torch.logsumexp(teacher.detach().reshape(-1, teacher.shape[-1])[:_LOOKED_AT].float(), -1)
            if bool((sums.abs() > 0.02).any()):  # half-precision logarithms are off by 2^-9 of themselves
                raise ValueError(
                    f"Distillation: log_target=True, and the teacher's probabilities sum to {float(sums[0].exp()):.3g} "
                    "in the first row instead of 1; pass log_softmax(teacher / temperature), or leave log_target out "
                    "for logits."
                )
        super().check(output, target, row_weight)

    def check_labels(self, output: Tensor | Projected, labels: Any) -> None:
        if isinstance(labels, Tensor) and labels.is_floating_point() and labels.shape == output.shape:
            raise TypeError(
                "Distillation: the labels are probabilities of the output's shape, and class indices are needed beside "
                "a teacher; pass them as the teacher (log_target=True, their logarithm), or labels.argmax(-1)."
            )
        super().check_labels(output, labels)


def _labels_and_teacher(target: Any) -> tuple[Tensor | None, Tensor | Projected | None]:
    if isinstance(target, Mapping):
        return target.get("labels"), target.get("teacher")
    if isinstance(target, (tuple, list)) and len(target) == 2:
        return target[0], target[1]
    if isinstance(target, Projected) or (isinstance(target, Tensor) and target.is_floating_point()):
        return None, target
    return target, None


def _described(target: Any) -> str:
    return f"a tensor of {target.dtype}" if isinstance(target, Tensor) else f"a {type(target).__name__}"

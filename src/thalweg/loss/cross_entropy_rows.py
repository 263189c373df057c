r"""Cross entropy of a row of logits: label smoothing, class weights and z-loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.loss.linear_kernel import SmoothedRows
from thalweg.loss.row_blocks import blocks
from thalweg.loss.token_rows import BOUND, RowForm, Rows

__all__ = ["CrossEntropyRows", "log_softmax_"]

# Rows hold valid classes only, so nothing is left for torch to ignore, and a -100 that slipped in is an error.
_NOTHING = torch.iinfo(torch.int64).min

#: At most this z-loss leaves 1 + 2 zeta z above a half for every |z| up to the bound.
_SMALL_Z_LOSS = 0.25 / BOUND


def log_softmax_(logits: Tensor) -> Tensor:
    """Replace *logits* (R, V) by their log-softmax over the last dim, in place."""
    result: Tensor = torch.log_softmax(logits, -1, out=logits)
    return result


@dataclass(frozen=True, kw_only=True)
class CrossEntropyRows(RowForm):
    r"""Cross entropy of a row, in nats, as ``F.cross_entropy`` has it, and z-loss.

    .. math::
        \ell = -\sum_c a_c \log p_c + \zeta w_y z^2 \qquad p = \operatorname{softmax}(o), \quad
        z = \log \sum_c e^{o_c}, \quad a_c = w_c \left((1 - \varepsilon) q_c + \varepsilon / V\right)

    with :math:`q` one-hot at :math:`y`, or the given probabilities (then :math:`w_y` in the z-loss is 1). The
    derivative is :math:`u p - a` with :math:`u = \sum_c a_c + 2 \zeta w_y z`.

    Args:
        label_smoothing: :math:`\varepsilon`, 0 to 1.
        z_loss: :math:`\zeta` >= 0, finite.
        softcap: see ``RowForm``.
    """

    who: ClassVar[str] = "TokenCrossEntropy"
    label_smoothing: float = 0.0
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_option("label_smoothing", self.label_smoothing, high=1.0, high_open=False)
        self.check_option("z_loss", self.z_loss, advice="1e-4 is usual, 0 is none")

    def row_values(self, logits: Tensor, rows: Rows) -> Tensor:
        target = rows.soft if rows.soft is not None else rows.target
        assert target is not None
        if rows.soft is not None:
            target = target.to(logits.dtype)
        values = F.cross_entropy(
            logits,
            target,
            rows.class_weight,
            ignore_index=_NOTHING,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        if self.z_loss:
            penalty = self.z_loss * torch.logsumexp(logits, -1).square()
            weight = self.of_target(rows)
            values = values + (penalty if weight is None else penalty * weight)
        return values

    def row_differentiate_(self, logits: Tensor, rows: Rows) -> tuple[Tensor, Tensor | None]:
        if rows.soft is not None:
            return self._soft_differentiate_(logits, rows, rows.soft), None
        if not self.label_smoothing and not self.z_loss:
            return self._plain_differentiate_(logits, rows)
        return self._full_differentiate_(logits, rows), None

    @property
    def asks_bound(self) -> bool:
        return not self.label_smoothing and not self.z_loss and self.softcap is None

    def smoothed(self, rows: Rows) -> SmoothedRows | None:
        weighted = self.label_smoothing > 0 and rows.class_weight is not None
        if self.softcap is not None or rows.target is None or weighted or self.z_loss > _SMALL_Z_LOSS:
            return None
        return SmoothedRows(self.label_smoothing, self.z_loss)

    def differentiate_bounded_(self, logits: Tensor, rows: Rows, bound: float) -> tuple[Tensor, Tensor | None] | None:
        if not bound < BOUND or rows.target is None:
            return None
        index, weight = rows.target[:, None], self.of_target(rows)
        chosen = logits.gather(1, index).squeeze(1)
        total = torch.empty_like(chosen)
        for block in blocks(logits):
            torch.sum(logits[block].exp_(), 1, out=total[block])
        values = total.log().sub_(chosen)
        logits.scatter_add_(1, index, -total[:, None])
        if weight is None:
            return values, total.reciprocal_()
        return values * weight, weight / total

    def _plain_differentiate_(self, logits: Tensor, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """The derivative is w (p - [c = y]): nothing but a factor per row besides the exponentials."""
        assert rows.target is not None
        index, weight = rows.target[:, None], self.of_target(rows)
        if logits.device.type != "cpu" or type(logits) is not Tensor or torch.compiler.is_compiling():
            log_p = log_softmax_(logits)
            values = log_p.gather(1, index).squeeze(1).neg_()
            log_p.exp_().scatter_add_(1, index, -torch.ones_like(values)[:, None])
            return values if weight is None else values * weight, weight
        # On a CPU the elementwise work counts: one pass for the exponentials, and their sum stays outside as a factor.
        highest = logits.amax(1)
        chosen = logits.gather(1, index).squeeze(1)
        if bool((highest.abs() < BOUND).all()):
            total = logits.exp_().sum(1)
            values = total.log().sub_(chosen)
        else:
            total = logits.sub_(highest[:, None]).exp_().sum(1)
            values = total.log().add_(highest).sub_(chosen)
        logits.scatter_add_(1, index, -total[:, None])
        if weight is None:
            return values, total.reciprocal_()
        return values * weight, weight / total

    def _full_differentiate_(self, logits: Tensor, rows: Rows) -> Tensor:
        assert rows.target is not None
        index, weight, classes = rows.target[:, None], self.of_target(rows), logits.shape[1]
        highest = logits.amax(1) if self.z_loss else None
        log_p = log_softmax_(logits)
        # exact, because log_p is small there, and a third of the time of a logsumexp of its own
        z = None if highest is None else highest - log_p.amax(1)
        nll = log_p.gather(1, index).squeeze(1).neg_()
        values = nll if weight is None else nll * weight
        pull = torch.ones_like(nll) if weight is None else weight  # what is subtracted at the target
        total = weight  # u, None for 1
        spread = self.label_smoothing / classes
        if self.label_smoothing:
            pull = pull * (1.0 - self.label_smoothing)
            if rows.class_weight is None:
                values = pull * nll - spread * log_p.sum(1)
            else:
                values = pull * nll - spread * (log_p @ rows.class_weight)
                total = pull + spread * rows.class_weight.sum()
        if z is not None:
            slope = z * (2.0 * self.z_loss) if weight is None else z * weight * (2.0 * self.z_loss)
            values = values + 0.5 * slope * z
            total = slope + (1.0 if total is None else total)
        gradient = log_p.exp_()
        if total is not None:
            gradient.mul_(total[:, None])
        if self.label_smoothing and rows.class_weight is not None:
            gradient.sub_(rows.class_weight, alpha=spread)
        elif self.label_smoothing:
            gradient.sub_(spread)
        gradient.scatter_add_(1, index, -pull[:, None])
        return values

    def _soft_differentiate_(self, logits: Tensor, rows: Rows, soft: Tensor) -> Tensor:
        z = torch.logsumexp(logits, -1) if self.z_loss else None
        share = soft.to(logits.dtype)
        if self.label_smoothing:
            share = share * (1.0 - self.label_smoothing) + self.label_smoothing / logits.shape[1]
        if rows.class_weight is not None:
            share = share * rows.class_weight
        log_p = log_softmax_(logits)
        values: Tensor = -torch.linalg.vecdot(share, log_p)
        total = share.sum(1)
        if z is not None:
            values = values + self.z_loss * z * z
            total = total + 2.0 * self.z_loss * z
        log_p.exp_().mul_(total[:, None]).sub_(share)
        return values

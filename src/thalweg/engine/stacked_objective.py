"""The mean losses of K members and their gradients."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from thalweg.data import Split
from thalweg.loss import Loss, Penalty

from .stacked_forward import StackedForward
from .stacked_totals import totals

__all__ = ["StackedObjective", "clip_factors", "smoothed"]

Tensors = Mapping[str, Tensor]


def smoothed(loss: Loss, share: float) -> Loss:
    """Return *loss* with another label smoothing, everything that ``specialise`` has found out kept."""
    special = copy.copy(loss)
    object.__setattr__(special, "label_smoothing", share)
    return special


class StackedObjective:
    r"""The losses of K members over the same rows, or over rows of their own.

    A label smoothing that differs between members needs no loss of its own for each: in :math:`\varepsilon` the loss is
    a straight line, :math:`\ell_\varepsilon = (1 - \varepsilon) \ell_0 + \varepsilon \ell_1`.

    Args:
        forward: how outputs are computed.
        loss: made ready for the data.
        penalty: added to each member's mean, or None.
        smooths: whether members differ in label smoothing.
    """

    def __init__(self, forward: StackedForward, loss: Loss, penalty: Penalty | None, *, smooths: bool = False) -> None:
        self.forward, self.penalty = forward, penalty
        self.losses = [smoothed(loss, 0.0), smoothed(loss, 1.0)] if smooths else [loss]

    def means(
        self,
        params: Tensors,
        buffers: Tensors,
        parts: Split,
        keys: Tensor | None = None,
        smoothing: Tensor | None = None,
        *,
        own: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (each member's sum / weight plus penalty, **(K,)**; buffers afterwards).

        Args:
            params, buffers: by name, **(K, …)** each.
            parts: the batch.
            keys: of the dropouts, **(K, L)**, or None.
            smoothing: :math:`\\varepsilon` of each member, **(K,)**, where they differ.
            own: whether each member has rows of its own.
        """
        output, after = self.forward(params, buffers, parts, keys, own=own)
        first = self.forward.classes_first
        found = [totals(loss, output, parts, classes_first=first, own=own) for loss in self.losses]
        total, weight = found[0]
        if len(found) > 1:
            assert smoothing is not None
            share = smoothing.to(total.dtype)
            total = (1 - share) * total + share * found[1][0]
        if isinstance(weight, Tensor):
            there = weight > 0
            mean = torch.where(there, total / torch.where(there, weight, 1).to(total.dtype), 0 * total)
        else:
            mean = total / weight if weight else 0 * total
        if self.penalty is not None:
            mean = mean + torch.func.vmap(self.penalty)(dict(params))
        return mean, after

    def gradients(
        self,
        params: Tensors,
        fixed: Tensors,
        buffers: Tensors,
        parts: Split,
        keys: Tensor | None = None,
        smoothing: Tensor | None = None,
        *,
        own: bool = False,
    ) -> tuple[list[Tensor | None], Tensor, dict[str, Tensor]]:
        """Return (gradients in the order of *params*, mean losses **(K,)**, buffers afterwards).

        Members do not meet in any operation, so the gradient of the sum of their losses is each member's own; a member
        whose loss is NaN has NaN gradients, and no other has.

        Args:
            params: that are differentiated, by name.
            fixed: parameters that are not, by name.
            buffers, parts, keys, smoothing, own: as for :meth:`means`.
        """
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
        with torch.enable_grad():
            mean, after = self.means({**leaves, **fixed}, buffers, parts, keys, smoothing, own=own)
        seed = torch.ones_like(mean)
        grads = torch.autograd.grad(mean, list(leaves.values()), seed, allow_unused=True)
        return list(grads), mean.detach(), after


def clip_factors(grads: Sequence[Tensor], limit: Tensor) -> Tensor:
    r"""Return each member's :math:`\min(1, c_k / (\lVert g_k \rVert + 10^{-6}))`, shape **(K,)**.

    Args:
        grads: **(K, …)** each; the norm is over all of a member's.
        limit: :math:`c_k > 0`, **(K,)**; infinite for a member that is not clipped.

    >>> clip_factors([torch.tensor([[3.0, 4.0], [3.0, 4.0]])], torch.tensor([1.0, torch.inf])).tolist()
    [0.19999995827674866, 1.0]
    """
    norms = torch.stack([torch.linalg.vector_norm(grad.flatten(1), dim=1) for grad in grads])
    factor = (limit.to(norms.dtype) / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    # Not clipped means not touched, even where the norm is infinite and the quotient is no number.
    return torch.where(torch.isinf(limit), 1.0, factor)

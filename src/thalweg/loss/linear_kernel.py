r"""Cross entropy from hidden states and a head where all logits are small enough for one pass of exponentials.

The three products are a kernel's, which ``engine``, above this package, compiles. It takes the exponentials of the
logits where it has summed them up and carries a block of classes back to the hidden states while it is in the cache.
What the target, label smoothing and z-loss add is of rank one, and costs nothing beside them:

.. math::
    \frac{\partial \ell}{\partial o} = u \, p - (1 - \varepsilon) [c = y] - \varepsilon / V \qquad u = 1 + 2 \zeta z

With :math:`s = \sum_{c \ne y} e^{o_c}` what is left for the target is :math:`-s / (s + e^{o_y})`, in which nothing
cancels when the target is nearly certain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["KERNEL", "SmoothedRows", "bind_vocabulary", "smoothed_rows"]

KERNEL: list[Callable[[], Any]] = []

#: Multiplications (rows x features x classes) of a call from which the kernel is worth having.
_LEAST_WORK = 1 << 31
_FEWEST_ROWS = 64


def bind_vocabulary(find: Callable[[], Any]) -> None:
    """Take up the function that finds the kernel; called once, by ``engine``."""
    KERNEL[:] = [find]


class SmoothedRows(NamedTuple):
    """What rows have in common: the target's share is 1 - smoothing, the z-loss's factor is z_loss."""

    smoothing: float
    z_loss: float


def kernel_for(hidden: Tensor, weight: Tensor) -> Any:
    """Return the kernel if it can take *hidden* (N, D) and *weight* (V, D) and is worth it, else None."""
    rows, features = hidden.shape
    if hidden.dtype != torch.float32 or rows < _FEWEST_ROWS or rows * features * len(weight) < _LEAST_WORK:
        return None
    if not KERNEL or not weight.is_contiguous() or hidden.is_neg() or weight.is_neg():
        return None
    kernel = KERNEL[0]()
    return kernel if kernel is not None and features % kernel.tile == 0 else None


def smoothed_rows(
    space: Any,
    what: SmoothedRows,
    hidden: Tensor,
    mean: Tensor | None,
    target: Tensor,
    factor: Tensor | None,
    store: Tensor,
    hidden_grad: Tensor | None,
    weight_grad: Tensor | None,
    fresh: bool,
) -> Tensor:
    r"""Return what each row costs, (R,), and write its gradients.

    Args:
        space: the kernel's workspace.
        what: label smoothing and z-loss.
        hidden: (R, D).
        mean: (D,) the mean over V of the head where there is label smoothing.
        target: (R,) class indices.
        factor: (R,) what the gradients of each row are multiplied with, None for 1.
        store: (V, R or more) memory.
        hidden_grad: (R, D) where the gradient of the hidden states goes, None where it is not wanted.
        weight_grad: (V, D) what the gradient of the head is added to, None where it is not wanted.
        fresh: whether ``weight_grad`` is set instead.
    """
    smoothing, z_loss = what
    chosen, others = space.forward(hidden, target, store, hidden_grad)
    total = chosen + others
    z = total.log()
    values = torch.where(others < chosen, torch.log1p(others / chosen), z - chosen.log())
    if mean is not None:
        values = torch.lerp(values, z - hidden @ mean, smoothing)
    u = 1.0 + 2.0 * z_loss * z if z_loss else torch.ones_like(z)
    if z_loss:
        values = values + z_loss * z * z
    # u p - (1 - smoothing) at the target, times the total
    left = (u - 1.0 + smoothing) * total - u * others
    share = u / total
    if hidden_grad is not None:
        hidden_grad.mul_(share[:, None]).addcmul_(space.heads(target), (left / total)[:, None])
        if mean is not None:
            hidden_grad.sub_(mean, alpha=smoothing)
        if factor is not None:
            hidden_grad.mul_(factor[:, None])
    if weight_grad is not None:
        store[target, torch.arange(len(hidden))] = left / u
        base: Tensor | None = None
        if mean is not None:
            base = (hidden.sum(0) if factor is None else factor @ hidden).mul_(-smoothing / len(store))
        space.backward(hidden, share if factor is None else share * factor, store, base, weight_grad, fresh)
    return values


def padded_rows(count: int, tile: int) -> int:
    """Return *count* rounded up to whole tiles."""
    return math.ceil(count / tile) * tile

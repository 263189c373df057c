"""Clipping as a factor that rides along with the update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["clip_coefficient", "clipped_by_value", "total_norm"]


def total_norm(grads: Sequence[Tensor]) -> Tensor:
    r"""Return the 2-norm of all gradients together, :math:`\sqrt{\sum_i \lVert g_i \rVert^2}`, as a 0-dim tensor.

    >>> float(total_norm([torch.tensor([3.0]), torch.tensor([[4.0]])]))
    5.0
    """
    if not grads:
        return torch.zeros(())
    dense = [grad.coalesce().values() if grad.is_sparse else grad for grad in grads]
    first = dense[0]
    if all(grad.device == first.device and grad.dtype == first.dtype for grad in dense):
        norms = torch._foreach_norm(dense)
        return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    norms = [torch.linalg.vector_norm(grad, dtype=torch.float32).to(first.device) for grad in dense]
    return torch.linalg.vector_norm(torch.stack(norms))


def clip_coefficient(norm: Tensor, max_norm: float) -> Tensor:
    r"""Return :math:`\min(1, c / (\lVert g \rVert + 10^{-6}))`, the factor of ``torch.nn.utils.clip_grad_norm_``.

    Args:
        norm: 0-dim norm of all gradients together.
        max_norm: :math:`c > 0`, in the units of the gradient.

    References:
        Pascanu, Mikolov, Bengio, *On the difficulty of training recurrent neural networks*, ICML 2013, algorithm 1.

    >>> round(float(clip_coefficient(torch.tensor(5.0), 1.0)), 4)
    0.2
    """
    return torch.clamp(max_norm / (norm + 1e-6), max=1.0)


def clipped_by_value(grads: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Return copies of the gradients with every element within ``[-limit, limit]``."""
    clipped = torch._foreach_clamp_max(list(grads), limit)
    torch._foreach_clamp_min_(clipped, -limit)
    return list(clipped)

"""Clipping as a factor that rides along with the update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["clip_coefficient", "clipped_by_value", "total_norm"]


def total_norm(grads: Sequence[Tensor]) -> Tensor:
    r"""Return the 2-norm of all gradients together, :math:`\sqrt{\sum_i \lVert g_i \rVert^2}`, as a 0-dim tensor.

    Sparse gradients count with the sum of the entries that name the same element. Half precision is summed in float32.

    >>> float(total_norm([torch.tensor([3.0]), torch.tensor([[4.0]])]))
    5.0
    """
    if not grads:
        return torch.zeros(())
    dense = [grad.coalesce().values() if grad.is_sparse else grad for grad in grads]
    dense = [torch.view_as_real(grad.resolve_conj()) if grad.is_complex() else grad for grad in dense]
    first = dense[0]
    half = first.dtype in (torch.float16, torch.bfloat16)
    if not half and all(grad.device == first.device and grad.dtype == first.dtype for grad in dense):
        norms = torch._foreach_norm(dense)
        return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    wide = torch.float64 if any(grad.dtype is torch.float64 for grad in dense) else torch.float32
    wide_norms = [torch.linalg.vector_norm(grad, dtype=wide).to(first.device) for grad in dense]
    total: Tensor = torch.linalg.vector_norm(torch.stack(wide_norms))
    return total


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
    coefficient: Tensor = max_norm / (norm + 1e-6)
    return coefficient.clamp(max=1.0)


def clipped_by_value(grads: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Return copies of the gradients with every element (real and imaginary parts apart) within ``[-limit, limit]``.

    >>> clipped_by_value([torch.tensor([3.0, -0.5])], 1.0)[0].tolist()
    [1.0, -0.5]
    """
    return [_clamped(grad, limit) for grad in grads]


def _clamped(grad: Tensor, limit: float) -> Tensor:
    if grad.is_sparse:
        grad = grad.coalesce()
        return torch.sparse_coo_tensor(
            grad.indices(), grad.values().clamp(-limit, limit), grad.shape, is_coalesced=True, check_invariants=False
        )
    if grad.is_complex():
        return torch.view_as_complex(torch.view_as_real(grad.resolve_conj()).clamp(-limit, limit))
    return grad.clamp(-limit, limit)

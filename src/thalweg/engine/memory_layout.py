"""How a tensor lies in memory."""

from __future__ import annotations

from torch import Tensor

__all__ = ["is_dense"]


def is_dense(param: Tensor) -> bool:
    """Whether the elements fill their memory without gaps or overlaps, in any order, as the raw kernels assume."""
    if param.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted(zip(param.stride(), param.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True

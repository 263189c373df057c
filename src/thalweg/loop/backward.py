"""The backward pass from a seed, without what ``Tensor.backward`` asks about it every time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["backward"]

# What Tensor.backward hands over to in the end. On the way it checks shape, dtype and device of the given gradient,
# which are right by construction here, at 40 to 50 µs a step (a tenth of a small model's). It is no public name, so
# where a version of torch has it not, the public way is taken.
# On other devices than the CPU, torch's own step in between hands the caller's context to the device's thread.
_run: Any = getattr(torch.autograd.graph, "_engine_run_backward", None)
_run_here: Any = getattr(getattr(torch.autograd.Variable, "_execution_engine", None), "run_backward", None) or _run


def backward(total: Tensor, seed: Tensor) -> None:
    """Add the gradients of ``seed · total`` to ``.grad`` of the leaves.

    Args:
        total: a 0-dim tensor with a graph.
        seed: a 0-dim tensor of its dtype, on its device.

    >>> w = torch.tensor(3.0, requires_grad=True)
    >>> backward(w * w, torch.tensor(0.5))
    >>> w.grad
    tensor(3.)
    """
    if _run is None or type(total) is not Tensor or not total.requires_grad:
        total.backward(seed)  # type: ignore[no-untyped-call]
    elif total.device.type == "cpu":
        _run_here((total,), (seed,), False, False, (), allow_unreachable=True, accumulate_grad=True)
    else:
        _run((total,), (seed,), False, False, (), allow_unreachable=True, accumulate_grad=True)

"""Recording for a hook that replaces the step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .run import Run

__all__ = ["record_replaced"]


def record_replaced(run: Run, returned: Any) -> None:
    """Record what a hook's ``step`` returned: a 0-dim tensor, (sum, weight), or None for nothing.

    Raises:
        TypeError: it returned something else.
    """
    if returned is None:
        loss: Tensor = torch.full((), float("nan"), device=run.device)
        weight: Tensor | int = 0
    elif isinstance(returned, Tensor) and returned.ndim == 0:
        loss, weight = returned.detach(), 1
    elif isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Tensor):
        loss = returned[0].detach()
        weight = returned[1].detach() if isinstance(returned[1], Tensor) else int(returned[1])
    else:
        raise TypeError(
            f"hook step: returned {type(returned).__name__}; return the loss as a 0-dim tensor, as (sum, weight), "
            "or None to record nothing."
        )
    run.recorder.add(
        run.step + 1, run.epoch + 1, loss, weight, None, run.rates.current(), batches=(run.batch - 1, run.batch)
    )
    run.step += 1

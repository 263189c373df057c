"""What the schedule-free rules share: the weights of their average."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thalweg.optim.base import Hyper, State, counter

__all__ = ["averaged_point", "averaging_init", "averaging_weight"]


def averaging_init(param: Tensor) -> State:
    """Return the state of the average: the point ``z`` and the 0-dim ``step``, ``weight_sum`` and ``lr_max``."""
    return {
        "step": counter(),
        # Sums of squared rates over a run: float32 would lose the last ones.
        "weight_sum": counter(0.0, torch.float64),
        "lr_max": counter(0.0, torch.float64),
        "z": param.detach().clone(memory_format=torch.preserve_format),
    }


def averaging_weight(state: State, hyper: Hyper) -> tuple[Any, Tensor, State]:
    r"""Return the warmed-up rate, the weight :math:`c_t` of the new point in the average, and the new 0-dim state.

    .. math::
        \eta_t = \eta \min(1, t / t_{warm}), \qquad
        c_t = \frac{t^r \, (\max_{s \le t} \eta_s)^p}{\sum_{s \le t} s^r \, (\max_{i \le s} \eta_i)^p}

    References:
        Defazio et al., *The Road Less Scheduled*, NeurIPS 2024, section 4.4 and equation 23 of its appendix.
    """
    step = state["step"] + 1
    exact = step.to(torch.float64)
    rate = hyper["lr"]
    if hyper["warmup_steps"] > 0:
        rate = rate * torch.clamp(exact / hyper["warmup_steps"], max=1.0)
    known = rate if isinstance(rate, Tensor) else torch.full_like(exact, rate)
    lr_max = torch.maximum(state["lr_max"], known.to(torch.float64))
    weight = exact ** hyper["r"] * lr_max ** hyper["weight_lr_power"]
    weight_sum = state["weight_sum"] + weight
    # A rate of zero so far gives 0/0, which counts as no weight.
    share = torch.where(weight_sum > 0, weight / torch.where(weight_sum > 0, weight_sum, 1.0), 0.0)
    return rate, share, {"step": step, "weight_sum": weight_sum, "lr_max": lr_max}


def averaged_point(param: Tensor, z: Tensor, beta: Any) -> Tensor:
    r"""Return :math:`x = z + (y - z)/\beta`, the average, from the training point :math:`y = (1-\beta) z + \beta x`."""
    point: Tensor = z + (param - z) / beta
    return point

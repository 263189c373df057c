"""Schedule-free SGD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from thalweg.optim.base import Hyper, Rule, State, descent, is_on, scalar_dtype
from thalweg.optim.schedule_free import averaged_point, averaging_init, averaging_weight

__all__ = ["ScheduleFreeSGD"]


@dataclass(frozen=True)
class ScheduleFreeSGD(Rule):
    r"""SGD that needs no schedule: gradients are taken between the fast point and its running average.

    .. math::
        y_t &= (1 - \beta) z_t + \beta x_t, \qquad z_{t+1} = z_t - \eta_t \left(\nabla f(y_t) + \lambda y_t\right) \\
        x_{t+1} &= (1 - c_{t+1}) x_t + c_{t+1} z_{t+1}

    The model's parameter is :math:`y`; **evaluation uses** :math:`x`, which the loop (or
    ``with optimizer.evaluating():``) swaps in.

    Args:
        lr: rate :math:`\eta \ge 0`; larger than with a schedule, 1 to 10 times SGD's.
        momentum: :math:`\beta` in (0, 1), where between the two points the gradient is taken.
        weight_decay: :math:`\lambda \ge 0`, taken at :math:`y`.
        warmup_steps: updates of linear warm-up, >= 0.
        r: power of the step in the weight of the average.
        weight_lr_power: power of the largest rate so far in that weight.
        maximize: ascend instead.

    Shapes:
        ``z`` is shaped and laid out like its parameter; ``step``, ``weight_sum`` and ``lr_max`` are 0-dim.

    Raises:
        ValueError: a negative rate, decay or warm-up, or momentum outside (0, 1).

    References:
        Defazio, Yang, Mehta, Mishchenko, Khaled, Cutkosky, *The Road Less Scheduled*, NeurIPS 2024, equations 3-5.

    >>> import torch
    >>> rule = ScheduleFreeSGD(lr=0.5)
    >>> w = torch.tensor([1.0])
    >>> state = rule.init(w)
    >>> for _ in range(3):
    ...     w, state = rule.update(w, w.clone(), state, rule.hyper())
    >>> round(rule.evaluation(w, state, rule.hyper()).item(), 4)   # the average of z = 1/2, 1/4, 0.0688
    0.2729
    """

    lr: Any = 1.0
    momentum: Any = 0.9
    weight_decay: Any = 0.0
    warmup_steps: int = 0
    r: Any = 0.0
    weight_lr_power: Any = 2.0
    maximize: bool = False

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check("momentum", low=0.0, high=1.0, low_open=True, high_open=True)
        for name in ("weight_decay", "warmup_steps", "r", "weight_lr_power"):
            self._check(name, low=0.0)
        self._check_flags("maximize")

    @property
    def averages(self) -> bool:
        return True

    def init(self, param: Tensor) -> State:
        return averaging_init(param)

    def evaluation(self, param: Tensor, state: State, hyper: Hyper) -> Tensor:
        return averaged_point(param, state["z"], hyper["momentum"])

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        if is_on(hyper["weight_decay"]):
            grad = grad + hyper["weight_decay"] * param
        rate, share, new_state = averaging_weight(state, hyper)
        z, beta, exact = state["z"], hyper["momentum"], scalar_dtype(param)
        # x is never stored: y moves toward z by its share, and by what the step of z adds to both.
        length = (rate * (1 - beta * (1 - share))).to(exact)
        new_param = param + share.to(exact) * (z - param) - length * grad
        rate = rate.to(exact) if isinstance(rate, Tensor) else rate
        return new_param, {**new_state, "z": z - rate * grad}

"""Schedule-free AdamW."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.optim.base import Hyper, Rule, State, bias_correction, descent, is_on, scalar_dtype
from thalweg.optim.schedule_free import averaged_point, averaging_init, averaging_weight

__all__ = ["ScheduleFreeAdamW"]


@dataclass(frozen=True)
class ScheduleFreeAdamW(Rule):
    r"""AdamW that needs no schedule: gradients are taken between the fast point and its running average.

    .. math::
        y_t &= (1 - \beta_1) z_t + \beta_1 x_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
            g_t = \nabla f(y_t) \\
        z_{t+1} &= z_t - \eta_t \left(\frac{g_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} + \lambda y_t\right) \\
        x_{t+1} &= (1 - c_{t+1}) x_t + c_{t+1} z_{t+1}

    The model's parameter is :math:`y`; **evaluation uses** :math:`x`, which the loop (or
    ``with optimizer.evaluating():``) swaps in.

    Args:
        lr: rate :math:`\eta \ge 0`; larger than with a schedule, 1 to 10 times AdamW's.
        betas: :math:`(\beta_1, \beta_2)`, :math:`\beta_1` in (0, 1), :math:`\beta_2` in [0, 1).
        eps: :math:`\epsilon \ge 0`, added after the root.
        weight_decay: :math:`\lambda \ge 0`, decoupled, taken at :math:`y`.
        warmup_steps: updates of linear warm-up, >= 0.
        r: power of the step in the weight of the average.
        weight_lr_power: power of the largest rate so far in that weight.
        maximize: ascend instead.

    Shapes:
        ``z`` and ``exp_avg_sq`` are shaped and laid out like their parameter; ``step``, ``weight_sum`` and ``lr_max``
        are 0-dim.

    Raises:
        ValueError: a negative rate, eps, decay or warm-up, or a beta out of range.

    References:
        Defazio, Yang, Mehta, Mishchenko, Khaled, Cutkosky, *The Road Less Scheduled*, NeurIPS 2024, algorithm 1.

    >>> import torch
    >>> rule = ScheduleFreeAdamW(lr=0.1)
    >>> w = torch.tensor([1.0])
    >>> w, state = rule.update(w, torch.tensor([3.0]), rule.init(w), rule.hyper())
    >>> round(rule.evaluation(w, state, rule.hyper()).item(), 4)   # after one step the average is z itself
    0.9
    """

    lr: Any = 2.5e-3
    betas: tuple[Any, Any] = (0.9, 0.999)
    eps: Any = 1e-8
    weight_decay: Any = 0.0
    warmup_steps: int = 0
    r: Any = 0.0
    weight_lr_power: Any = 2.0
    maximize: bool = False

    def validate(self) -> None:
        self._check_betas()
        if not self.betas[0] > 0:
            raise ValueError(
                f"ScheduleFreeAdamW: betas[0]={self.betas[0]!r} must be > 0, because the average is recovered from the "
                "training point by dividing by it; 0.9 is usual."
            )
        for name in ("lr", "eps", "weight_decay", "warmup_steps", "r", "weight_lr_power"):
            self._check(name, low=0.0)
        self._check_flags("maximize")

    @property
    def averages(self) -> bool:
        return True

    def init(self, param: Tensor) -> State:
        return {**averaging_init(param), "exp_avg_sq": torch.zeros_like(param)}

    def evaluation(self, param: Tensor, state: State, hyper: Hyper) -> Tensor:
        return averaged_point(param, state["z"], hyper["betas"][0])

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        beta1, beta2 = hyper["betas"]
        rate, share, new_state = averaging_weight(state, hyper)
        exp_avg_sq = beta2 * state["exp_avg_sq"] + (1 - beta2) * (grad * grad)
        correction = bias_correction(beta2, new_state["step"], param)
        direction = grad / ((exp_avg_sq / correction).sqrt() + hyper["eps"])
        if is_on(hyper["weight_decay"]):
            direction = direction + hyper["weight_decay"] * param
        z, exact = state["z"], scalar_dtype(param)
        # x is never stored: y moves toward z by its share, and by what the step of z adds to both.
        length = (rate * (1 - beta1 * (1 - share))).to(exact)
        new_param = param + share.to(exact) * (z - param) - length * direction
        rate = rate.to(exact) if isinstance(rate, Tensor) else rate
        return new_param, {**new_state, "z": z - rate * direction, "exp_avg_sq": exp_avg_sq}

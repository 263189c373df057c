"""Lion: the sign of an interpolated momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from thalweg.optim.base import Hyper, Rule, State, descent, is_on, same_shape_state

__all__ = ["Lion"]


@dataclass(frozen=True)
class Lion(Rule):
    r"""The sign of a mix of momentum and gradient, with decoupled decay; one moment is all its state.

    .. math::
        c_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        w_t &= (1 - \eta\lambda) w_{t-1} - \eta \, \operatorname{sign}(c_t), \qquad
        m_t = \beta_2 m_{t-1} + (1 - \beta_2) g_t

    Every element moves by :math:`\eta`, so that rates are 3 to 10 times smaller than AdamW's and decays as much larger
    (the paper's advice, section 5).

    Args:
        lr: rate :math:`\eta \ge 0`, the step of every element.
        betas: :math:`(\beta_1, \beta_2)`, each in [0, 1).
        weight_decay: :math:`\lambda \ge 0`, decoupled, multiplied by the rate.
        maximize: ascend instead.

    Shapes:
        ``exp_avg`` is shaped and laid out like its parameter.

    Raises:
        ValueError: a negative rate or decay, or a beta outside [0, 1).

    References:
        Chen et al., *Symbolic Discovery of Optimization Algorithms*, NeurIPS 2023, algorithm 2.

    >>> import torch
    >>> rule = Lion(lr=0.1)
    >>> w = torch.tensor([1.0, -2.0, 0.5])
    >>> w, _ = rule.update(w, torch.tensor([3.0, -0.5, 0.0]), rule.init(w), rule.hyper())
    >>> [round(x, 4) for x in w.tolist()]
    [0.9, -1.9, 0.5]
    """

    lr: Any = 1e-4
    betas: tuple[Any, Any] = (0.9, 0.99)
    weight_decay: Any = 0.0
    maximize: bool = False

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check_betas()
        self._check("weight_decay", low=0.0)
        self._check_flags("maximize")

    def init(self, param: Tensor) -> State:
        return same_shape_state(param, "exp_avg")

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        beta1, beta2 = hyper["betas"]
        if is_on(hyper["weight_decay"]):
            param = param * (1 - hyper["lr"] * hyper["weight_decay"])
        mixed = beta1 * state["exp_avg"] + (1 - beta1) * grad
        return param - hyper["lr"] * mixed.sign(), {"exp_avg": beta2 * state["exp_avg"] + (1 - beta2) * grad}

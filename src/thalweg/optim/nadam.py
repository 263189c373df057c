"""NAdam: Adam with Nesterov's look-ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from thalweg.optim.base import (
    Hyper,
    Rule,
    State,
    bias_correction,
    counter,
    descent,
    is_on,
    same_shape_state,
    scalar_dtype,
)

__all__ = ["NAdam"]


@dataclass(frozen=True)
class NAdam(Rule):
    r"""Adam with Nesterov momentum, whose coefficient warms up along its own schedule.

    .. math::
        \mu_t &= \beta_1 \left(1 - \tfrac12 \, 0.96^{t \psi}\right) \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \hat m_t &= \frac{\mu_{t+1} m_t}{1 - \prod_{i \le t+1} \mu_i}
            + \frac{(1 - \mu_t) g_t}{1 - \prod_{i \le t} \mu_i} \\
        w_t &= w_{t-1} - \eta \, \frac{\hat m_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Args:
        lr: rate :math:`\eta \ge 0`.
        betas: :math:`(\beta_1, \beta_2)`, each in [0, 1).
        eps: :math:`\epsilon \ge 0`, added after the root.
        weight_decay: :math:`\lambda \ge 0`; L2 in the gradient, or decoupled (see below).
        momentum_decay: :math:`\psi \ge 0`, how fast :math:`\mu_t` rises from :math:`\beta_1/2` to :math:`\beta_1`.
        decoupled_weight_decay: shrink the weights by :math:`\eta\lambda` (NAdamW) instead of adding
            :math:`\lambda w` to the gradient.
        maximize: ascend instead.

    Shapes:
        ``exp_avg`` and ``exp_avg_sq`` are shaped and laid out like their parameter; ``step`` and ``mu_product`` are
        0-dim.

    Raises:
        ValueError: a negative rate, eps, decay or momentum decay, or a beta outside [0, 1).

    References:
        Dozat, *Incorporating Nesterov Momentum into Adam*, ICLR 2016 workshop, algorithm 2, with its section 3 schedule
        for :math:`\mu_t`.

    >>> import torch
    >>> rule = NAdam(lr=0.1)
    >>> w = torch.tensor([1.0])
    >>> w, _ = rule.update(w, torch.tensor([3.0]), rule.init(w), rule.hyper())
    >>> round(w.item(), 4)   # the gradient enters twice: once in the moment, once ahead of it
    0.8944
    """

    lr: Any = 2e-3
    betas: tuple[Any, Any] = (0.9, 0.999)
    eps: Any = 1e-8
    weight_decay: Any = 0.0
    momentum_decay: Any = 4e-3
    decoupled_weight_decay: bool = False
    maximize: bool = False

    torch_class: ClassVar[str | None] = "NAdam"

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check_betas()
        self._check("eps", low=0.0)
        self._check("weight_decay", low=0.0)
        self._check("momentum_decay", low=0.0)
        self._check_flags("decoupled_weight_decay", "maximize")

    def init(self, param: Tensor) -> State:
        return {
            "step": counter(),
            "mu_product": counter(1.0, scalar_dtype(param)),
            **same_shape_state(param, "exp_avg", "exp_avg_sq"),
        }

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        if is_on(hyper["weight_decay"]):
            if hyper["decoupled_weight_decay"]:
                param = param * (1 - hyper["lr"] * hyper["weight_decay"])
            else:
                grad = grad + hyper["weight_decay"] * param
        beta1, beta2 = hyper["betas"]
        step = state["step"] + 1
        exact = scalar_dtype(param)
        exponent = step.to(exact) * hyper["momentum_decay"]
        mu = beta1 * (1 - 0.5 * 0.96**exponent)
        mu_next = beta1 * (1 - 0.5 * 0.96 ** (exponent + hyper["momentum_decay"]))
        mu_product = (state["mu_product"] * mu).to(state["mu_product"].dtype)
        product = mu_product.to(exact)

        exp_avg = beta1 * state["exp_avg"] + (1 - beta1) * grad
        exp_avg_sq = beta2 * state["exp_avg_sq"] + (1 - beta2) * (grad * grad)
        ahead = mu_next / (1 - product * mu_next) * exp_avg + (1 - mu) / (1 - product) * grad
        denominator = (exp_avg_sq / bias_correction(beta2, step, param)).sqrt() + hyper["eps"]
        new_state = {"step": step, "mu_product": mu_product, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
        return param - hyper["lr"] * (ahead / denominator), new_state

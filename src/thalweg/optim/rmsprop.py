"""RMSprop: the gradient over its running root mean square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from thalweg.optim.base import Hyper, Rule, State, counter, descent, is_on, same_shape_state

__all__ = ["RMSprop"]


@dataclass(frozen=True)
class RMSprop(Rule):
    r"""The gradient divided by its running root mean square, optionally centered and with momentum.

    .. math::
        v_t &= \alpha v_{t-1} + (1 - \alpha) g_t^2, \qquad \bar g_t = \alpha \bar g_{t-1} + (1 - \alpha) g_t \\
        d_t &= \frac{g_t}{\sqrt{v_t} + \epsilon} \quad \text{or, centered,} \quad
            \frac{g_t}{\sqrt{v_t - \bar g_t^2} + \epsilon} \\
        b_t &= \mu b_{t-1} + d_t, \qquad w_t = w_{t-1} - \eta b_t

    :math:`\epsilon` stands outside the root, as in torch; TensorFlow puts it inside. Centered and with states in
    float16, :math:`v_t` of gradients below 2e-3 is rounded to 0 where :math:`\bar g_t` is not, and the root of their
    negative difference is a NaN, as in torch; float32 and bfloat16 have the range.

    Args:
        lr: rate :math:`\eta \ge 0`.
        alpha: :math:`\alpha` in [0, 1], the memory of the mean square.
        eps: :math:`\epsilon \ge 0`, added after the root.
        weight_decay: :math:`\lambda \ge 0`, L2 in the gradient.
        momentum: :math:`\mu \ge 0`; 0 keeps no buffer.
        centered: subtract the squared mean, so that the variance and not the second moment scales.
        maximize: ascend instead.

    Shapes:
        ``square_avg`` (and ``momentum_buffer``, ``grad_avg``) are shaped and laid out like their parameter; ``step`` is
        0-dim.

    Raises:
        ValueError: a negative rate, eps, momentum or decay, or alpha outside [0, 1].

    References:
        Tieleman, Hinton, *Lecture 6.5: RMSprop*, COURSERA Neural Networks for Machine Learning, 2012; Graves,
        *Generating Sequences With Recurrent Neural Networks*, 2013, section 4.2, equations 38-45 (centered).

    >>> import torch
    >>> rule = RMSprop(lr=0.1)
    >>> w = torch.tensor([1.0])
    >>> w, _ = rule.update(w, torch.tensor([3.0]), rule.init(w), rule.hyper())
    >>> round(1 - w.item(), 4)   # no bias correction: the first step is lr / sqrt(1 - alpha) long
    1.0
    """

    lr: Any = 1e-2
    alpha: Any = 0.99
    eps: Any = 1e-8
    weight_decay: Any = 0.0
    momentum: Any = 0.0
    centered: bool = False
    maximize: bool = False

    torch_class: ClassVar[str | None] = "RMSprop"

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check("alpha", low=0.0, high=1.0)
        self._check("eps", low=0.0)
        self._check("weight_decay", low=0.0)
        self._check("momentum", low=0.0)
        self._check_flags("centered", "maximize")

    def init(self, param: Tensor) -> State:
        names = ["square_avg"]
        if self.momentum > 0:
            names.append("momentum_buffer")
        if self.centered:
            names.append("grad_avg")
        return {"step": counter(), **same_shape_state(param, *names)}

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        grad = descent(grad, hyper)
        if is_on(hyper["weight_decay"]):
            grad = grad + hyper["weight_decay"] * param
        alpha = hyper["alpha"]
        square_avg = alpha * state["square_avg"] + (1 - alpha) * (grad * grad)
        new_state = {"step": state["step"] + 1, "square_avg": square_avg}
        second = square_avg
        if "grad_avg" in state:
            grad_avg = alpha * state["grad_avg"] + (1 - alpha) * grad
            new_state["grad_avg"] = grad_avg
            second = square_avg - grad_avg * grad_avg
        direction = grad / (second.sqrt() + hyper["eps"])
        if "momentum_buffer" in state:
            direction = hyper["momentum"] * state["momentum_buffer"] + direction
            new_state["momentum_buffer"] = direction
        return param - hyper["lr"] * direction, new_state

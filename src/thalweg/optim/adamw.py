"""AdamW: Adam with decoupled weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from thalweg.optim.adam import adam_init, adam_step
from thalweg.optim.base import Hyper, Rule, State, descent, is_on

__all__ = ["AdamW"]


@dataclass(frozen=True)
class AdamW(Rule):
    r"""Adam with **decoupled** weight decay: the weights shrink by :math:`\eta\lambda` beside the adaptive step.

    .. math::
        w_t = (1 - \eta \lambda) w_{t-1} - \eta \, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    with Adam's moments of the plain gradient.

    Args:
        lr: rate :math:`\eta \ge 0`.
        betas: :math:`(\beta_1, \beta_2)`, each in [0, 1).
        eps: :math:`\epsilon \ge 0`, added after the root.
        weight_decay: :math:`\lambda \ge 0`, multiplied by the rate of the step (torch's convention).
        amsgrad: keep the largest second moment seen.
        maximize: ascend instead; decay still shrinks.

    Shapes:
        ``exp_avg``, ``exp_avg_sq`` (and ``max_exp_avg_sq``) are shaped and laid out like their parameter; ``step`` is
        0-dim.

    Raises:
        ValueError: a negative rate, eps or decay, or a beta outside [0, 1).

    References:
        Loshchilov, Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, algorithm 2.

    >>> import torch
    >>> rule = AdamW(lr=0.1, weight_decay=0.5)
    >>> w = torch.tensor([1.0])
    >>> w, _ = rule.update(w, torch.tensor([0.0]), rule.init(w), rule.hyper())
    >>> round(w.item(), 4)   # no gradient: only the decay, 1 - 0.1 * 0.5
    0.95
    """

    lr: Any = 1e-3
    betas: tuple[Any, Any] = (0.9, 0.999)
    eps: Any = 1e-8
    weight_decay: Any = 1e-2
    amsgrad: bool = False
    maximize: bool = False

    torch_class: ClassVar[str | None] = "AdamW"

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check_betas()
        self._check("eps", low=0.0)
        self._check("weight_decay", low=0.0)
        self._check_flags("amsgrad", "maximize")

    def init(self, param: Tensor) -> State:
        return adam_init(param, amsgrad=self.amsgrad)

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        if is_on(hyper["weight_decay"]):
            param = param * (1 - hyper["lr"] * hyper["weight_decay"])
        return adam_step(param, descent(grad, hyper), state, hyper)

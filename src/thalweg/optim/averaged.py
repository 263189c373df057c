"""Averaged: an average of the weights beside them, for evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.errors import check_number
from thalweg.optim.base import Hyper, Rule, State, counter, scalar_dtype
from thalweg.optim.wrapper import Wrapper

__all__ = ["Averaged"]


@dataclass(frozen=True)
class Averaged(Wrapper):
    r"""Keep an average of the weights that training does not see and evaluation uses.

    .. math::
        a_1 = w_1, \qquad a_n = \delta a_{n-1} + (1 - \delta) w_n \quad \text{(EMA)}, \qquad
        a_n = \tfrac{n-1}{n} a_{n-1} + \tfrac1n w_n \quad \text{(uniform, SWA)}

    where :math:`n` counts the updates that are averaged: every ``every``-th after the first ``start``. Until there is
    one, evaluation uses the weights.

    The average is the value of :meth:`evaluation`; the loop (or ``with optimizer.evaluating():``) swaps it in and back.
    BatchNorm statistics belong to the weights they were taken with: re-estimate them for the average, as the loop does.

    Args:
        rule: the rule that trains.
        decay: :math:`\delta` in [0, 1] of an exponential average, or None for the uniform one.
        start: updates before averaging begins, >= 0.
        every: updates between two that are averaged, >= 1.

    In the param group these are ``average_decay``, ``average_start`` and ``average_every``, beside the inner rule's.

    Shapes:
        ``average`` is shaped and laid out like its parameter (float32 for half precision, where an average would
        stall); ``average_step`` is 0-dim.

    Raises:
        TypeError: no rule, or a count that is not a whole number.
        ValueError: a setting out of range, or a rule that averages already.

    References:
        Polyak, Juditsky, *Acceleration of Stochastic Approximation by Averaging*, SIAM J. Control Optim. 30, 1992;
        Izmailov et al., *Averaging Weights Leads to Wider Optima and Better Generalization*, UAI 2018, algorithm 1.

    >>> import torch
    >>> from thalweg.optim.sgd import SGD
    >>> rule = Averaged(SGD(lr=1.0), decay=None)
    >>> w = torch.tensor([0.0])
    >>> state = rule.init(w)
    >>> for _ in range(3):
    ...     w, state = rule.update(w, torch.tensor([-1.0]), state, rule.hyper())
    >>> w.item(), rule.evaluation(w, state, rule.hyper()).item()   # the mean of 1, 2, 3
    (3.0, 2.0)
    """

    rule: Rule
    decay: Any = 0.999
    start: int = 0
    every: int = 1

    prefix: ClassVar[str] = "average_"
    state_names: ClassVar[tuple[str, ...]] = ("average", "average_step")

    def validate(self) -> None:
        if self.decay is not None:
            self._check("decay", low=0.0, high=1.0)
        for name, low in (("start", 0), ("every", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"Averaged: {name}={value!r} must be a whole number of updates.")
            check_number("Averaged", name, value, low=low)
        if self.rule.averages:
            raise ValueError(
                f"Averaged: {type(self.rule).__name__} averages the weights already; use it alone, or put one Averaged "
                "outermost."
            )

    @property
    def averages(self) -> bool:
        return True

    def wrap_init(self, param: Tensor) -> State:
        wide = param.dtype in (torch.float16, torch.bfloat16)
        average = param.detach().to(torch.float32 if wide else param.dtype, copy=True)
        return {"average": average, "average_step": counter()}

    def wrap(self, param: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        step, average = state["average_step"] + 1, state["average"]
        exact = scalar_dtype(average)
        since, every = (step - hyper["average_start"]).to(exact), hyper["average_every"]
        count = torch.clamp(torch.floor(since / every), min=1.0)
        decay = 1 - 1 / count if hyper["average_decay"] is None else hyper["average_decay"]
        keep = torch.where(count > 1, decay, torch.zeros_like(count))
        # Written from the new weights, so that the first average is exactly them.
        wide = param.to(average.dtype)
        moved = wide - keep * (wide - average)
        due = (since > 0) & (since % every == 0)
        return param, {"average": torch.where(due, moved, average), "average_step": step}

    def evaluation(self, param: Tensor, state: State, hyper: Hyper) -> Tensor:
        there = state["average_step"] - hyper["average_start"] >= hyper["average_every"]
        return torch.where(there, state["average"].to(param.dtype), param)

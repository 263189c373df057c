"""Lookahead: slow weights that follow the fast ones every k steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.errors import check_number
from thalweg.optim.base import Hyper, Rule, State, counter
from thalweg.optim.wrapper import Wrapper

__all__ = ["Lookahead"]


@dataclass(frozen=True)
class Lookahead(Wrapper):
    r"""Let a rule run k steps, then go back a part of the way: the slow weights move toward the fast ones.

    .. math::
        \theta_{t} = A(\theta_{t-1}), \qquad
        \text{every } k \text{ steps:} \quad
        \phi \leftarrow \phi + \alpha (\theta_t - \phi), \quad \theta_t \leftarrow \phi

    Args:
        rule: the rule :math:`A` for the fast weights.
        k: fast steps between two slow ones, a whole number >= 1.
        alpha: :math:`\alpha` in [0, 1], how far the slow weights go; 1 is the rule alone.

    In the param group these are ``lookahead_k`` and ``lookahead_alpha``, beside the inner rule's own.

    Shapes:
        ``slow_param`` is shaped and laid out like its parameter; ``lookahead_step`` is 0-dim.

    Raises:
        TypeError: no rule, or k not a whole number.
        ValueError: k or alpha out of range, or a rule that averages (write ``Averaged(Lookahead(...))``).

    References:
        Zhang, Lucas, Ba, Hinton, *Lookahead Optimizer: k steps forward, 1 step back*, NeurIPS 2019, algorithm 1.

    >>> import torch
    >>> from thalweg.optim.sgd import SGD
    >>> rule = Lookahead(SGD(lr=1.0), k=2, alpha=0.5)
    >>> w = torch.tensor([0.0])
    >>> state, path = rule.init(w), []
    >>> for _ in range(4):
    ...     w, state = rule.update(w, torch.tensor([-1.0]), state, rule.hyper())
    ...     path.append(w.item())
    >>> path   # two forward, one back
    [1.0, 1.0, 2.0, 2.0]
    """

    rule: Rule
    k: int = 5
    alpha: Any = 0.5

    prefix: ClassVar[str] = "lookahead_"
    state_names: ClassVar[tuple[str, ...]] = ("slow_param", "lookahead_step")

    def validate(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int):
            raise TypeError(f"Lookahead: k={self.k!r} must be a whole number of steps; 5 is usual.")
        check_number("Lookahead", "k", self.k, low=1)
        self._check("alpha", low=0.0, high=1.0)
        if isinstance(self.rule, Lookahead):
            raise ValueError("Lookahead: the inner rule is a Lookahead already; give one of them k and alpha.")
        if self.rule.averages:
            raise ValueError(
                f"Lookahead: {type(self.rule).__name__} averages the weights, and going back would put them out of "
                "step with that average; wrap the other way round: Averaged(Lookahead(...))."
            )

    def wrap_init(self, param: Tensor) -> State:
        return {"slow_param": param.detach().clone(memory_format=torch.preserve_format), "lookahead_step": counter()}

    def wrap(self, param: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        step = state["lookahead_step"] + 1
        due = step % hyper["lookahead_k"] == 0
        slow = state["slow_param"]
        moved = slow + hyper["lookahead_alpha"] * (param - slow)
        new_slow = torch.where(due, moved, slow)
        return torch.where(due, moved, param), {"slow_param": new_slow, "lookahead_step": step}

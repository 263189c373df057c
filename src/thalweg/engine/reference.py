"""The equation itself, one parameter after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..optim import Hyper, Rule, State
from .base import Engine

__all__ = ["ReferenceEngine"]


class ReferenceEngine(Engine):
    """Runs ``rule.update`` eagerly and copies what it returns into place; what every other engine is compared with."""

    name: ClassVar[str] = "reference"

    @torch.no_grad()
    def step(
        self,
        rule: Rule,
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        states: Sequence[State],
        hyper: Hyper,
        scale: Tensor | None = None,
    ) -> None:
        for param, grad, state in zip(params, grads, states, strict=True):
            if scale is not None:
                grad = grad * scale.to(grad.dtype)
            new_param, new_state = rule.update(param, grad, state, hyper)
            param.copy_(new_param)
            for name, value in new_state.items():
                state[name].copy_(value)

"""The equation itself, one parameter after the other."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.engine.base import Engine
from thalweg.engine.rounding import Rounder
from thalweg.optim import Hyper, Rule, State

__all__ = ["ReferenceEngine", "real", "widened"]

_HALF = (torch.float16, torch.bfloat16)


def widened(value: Tensor) -> Tensor:
    """Return half precision as float32, in which updates are computed, and anything else as it is."""
    return value.to(torch.float32) if value.dtype in _HALF else value


def real(value: Tensor) -> Tensor:
    """Return a complex tensor as its pairs of real numbers (a view), and anything else as it is."""
    return torch.view_as_real(value) if value.is_complex() else value


class ReferenceEngine(Engine):
    """Runs ``rule.update`` eagerly and copies what it returns into place; what every other engine is compared with.

    Half precision is computed in float32 and rounded once at the end. Complex parameters are updated as pairs of real
    numbers, as torch does. A sparse gradient updates its rows alone where a zero gradient means no change, and is made
    dense where decay or momentum move the other rows too.
    """

    name: ClassVar[str] = "reference"

    @torch.no_grad()
    def step(
        self,
        rule: Rule,
        params: list[Tensor],
        grads: list[Tensor],
        states: list[State],
        hyper: Hyper,
        scale: Tensor | None = None,
        *,
        skip: Tensor | None = None,
        rounder: Rounder | None = None,
        overwrite: bool = False,
        memo: dict[str, Any] | None = None,
    ) -> None:
        for param, grad, state in zip(params, grads, states, strict=True):
            if grad.layout is not torch.strided:
                if not rule.sparse or grad.layout is not torch.sparse_coo:
                    raise _sparse_refused(rule, param, grad)
                if rule.is_local(state, hyper):
                    _step_rows(rule, param, grad.coalesce(), state, hyper, scale, skip, rounder)
                    continue
                grad = grad.to_dense()
            _step_one(rule, param, grad, state, hyper, scale, skip, rounder)


def _sparse_refused(rule: Rule, param: Tensor, grad: Tensor) -> TypeError:
    return TypeError(
        f"{type(rule).__name__}: the gradient of a parameter of shape {tuple(param.shape)} is {grad.layout}, "
        "and this rule takes dense gradients; use SGD or Adagrad, or Embedding(..., sparse=False)."
    )


def _step_one(
    rule: Rule,
    param: Tensor,
    grad: Tensor,
    state: State,
    hyper: Hyper,
    scale: Tensor | None,
    skip: Tensor | None,
    rounder: Rounder | None,
) -> None:
    """Update one parameter and its state in place."""
    target = real(param)
    targets = {name: real(value) for name, value in state.items()}
    old = widened(target)
    old_state = {name: widened(value) for name, value in targets.items()}
    slope = real(grad.resolve_conj()).to(old.dtype)
    if scale is not None:
        slope = slope * scale.to(device=slope.device, dtype=slope.dtype)
    new, new_state = rule.update(old, slope, old_state, hyper)
    _write(target, old, new, skip, rounder)
    for name, value in new_state.items():
        if value is not old_state[name]:
            _write(targets[name], old_state[name], value, skip, rounder)


def _write(target: Tensor, old: Tensor, new: Tensor, skip: Tensor | None, rounder: Rounder | None) -> None:
    if skip is not None:
        new = torch.where(skip.to(new.device) != 0, old.to(new.dtype), new)
    if rounder is None:
        target.copy_(new)
    else:
        rounder.copy_(target, new)


def _step_rows(
    rule: Rule,
    param: Tensor,
    grad: Tensor,
    state: State,
    hyper: Hyper,
    scale: Tensor | None,
    skip: Tensor | None,
    rounder: Rounder | None,
) -> None:
    """Update only the rows that a coalesced sparse gradient names."""
    rows = tuple(grad.indices().unbind())
    shaped = {name for name, value in state.items() if value.shape == param.shape}
    part = param[rows]
    part_state = {name: value[rows] if name in shaped else value for name, value in state.items()}
    _step_one(rule, part, grad.values(), part_state, hyper, scale, skip, rounder)
    param.index_put_(rows, part)
    for name in shaped:
        state[name].index_put_(rows, part_state[name])

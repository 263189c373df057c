"""Rules of matrix products (Muon), matrices of equal shape together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thalweg.engine.reference import widened
from thalweg.engine.rounding import Rounder
from thalweg.optim import Hyper, Rule, State
from thalweg.optim.muon import products_in

__all__ = ["product_dtype", "step_matrices"]

#: Elements put together for one product: as many as the caches hold; on a GPU, enough to fill it.
_TOGETHER = {"cpu": 1 << 18}
_TOGETHER_ELSEWHERE = 1 << 26


def product_dtype(device: torch.device) -> torch.dtype:
    """Return what products are formed in: float32 on a processor that has no instructions for bfloat16.

    There bfloat16 is emulated (measured: a fifth of float32's speed for 512×2048), and float32 only rounds less.
    """
    has = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    if device.type == "cpu" and not (has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16")):
        return torch.float32
    return torch.bfloat16


def step_matrices(
    rule: Rule,
    params: list[Tensor],
    grads: list[Tensor],
    states: list[State],
    hyper: Hyper,
    scale: Tensor | None,
    skip: Tensor | None,
    rounder: Rounder | None,
) -> None:
    """Update *params* in place by ``rule.update``, vectorised over those of equal shape, dtype and device."""
    groups: dict[Any, list[int]] = {}
    for index, param in enumerate(params):
        kinds = tuple((name, value.dtype, tuple(value.shape)) for name, value in states[index].items())
        groups.setdefault((param.shape, param.dtype, param.device, kinds), []).append(index)
    with torch.no_grad():
        for rows in groups.values():
            first = params[rows[0]]
            most = _TOGETHER.get(first.device.type, _TOGETHER_ELSEWHERE)
            together = max(1, most // max(first.numel(), 1))
            with products_in(product_dtype(first.device)):
                for start in range(0, len(rows), together):
                    some = rows[start : start + together]
                    parts = [params[i] for i in some], [grads[i] for i in some], [states[i] for i in some]
                    _step_together(rule, *parts, hyper, scale, skip, rounder)


def _step_together(
    rule: Rule,
    params: list[Tensor],
    grads: list[Tensor],
    states: list[State],
    hyper: Hyper,
    scale: Tensor | None,
    skip: Tensor | None,
    rounder: Rounder | None,
) -> None:
    """Update parameters that are all alike."""
    param = _stacked(params)
    grad = _stacked(grads).to(param.dtype)
    if scale is not None:
        grad = grad * scale.to(device=grad.device, dtype=grad.dtype)
    state = {name: _stacked([one[name] for one in states]) for name in states[0]}

    def update(param: Tensor, grad: Tensor, state: State) -> tuple[Tensor, State]:
        return rule.update(param, grad, state, hyper)

    new, new_state = (
        torch.func.vmap(update)(param, grad, state) if len(params) > 1 else _alone(update, param, grad, state)
    )
    keep = None if skip is None else skip.to(param.device) != 0
    for index, target in enumerate(params):
        _write(target, param[index], new[index], keep, rounder)
        for name, value in new_state.items():
            _write(states[index][name], state[name][index], value[index], keep, rounder)


def _stacked(tensors: list[Tensor]) -> Tensor:
    """Return the tensors on a new leading dimension, wide enough to compute in; one tensor without a copy."""
    return widened(tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(tensors))


def _alone(update: Any, param: Tensor, grad: Tensor, state: State) -> tuple[Tensor, State]:
    new, new_state = update(param[0], grad[0], {name: value[0] for name, value in state.items()})
    return new.unsqueeze(0), {name: value.unsqueeze(0) for name, value in new_state.items()}


def _write(target: Tensor, old: Tensor, new: Tensor, keep: Tensor | None, rounder: Rounder | None) -> None:
    if keep is not None:
        new = torch.where(keep.to(new.device), old.to(new.dtype), new)
    if rounder is None:
        target.copy_(new)
    else:
        rounder.copy_(target, new)

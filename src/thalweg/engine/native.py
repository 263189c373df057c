"""torch's own fused kernels, called directly, where they compute what the rule says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..optim import SGD, Adam, AdamW, Hyper, Rule, State
from .base import Engine
from .reference import ReferenceEngine

__all__ = ["NativeEngine"]

_FUSED_DEVICES = ("cpu", "cuda", "mps")
_FUSED_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class NativeEngine(Engine):
    """Runs SGD, Adam and AdamW through torch's fused kernels, and what those cannot take through the reference.

    The fused CPU kernels walk raw memory and are silently wrong when the strides of a gradient or a state differ from
    the parameter's (torch 2.13); such gradients are laid out anew for the call and such parameters go to the reference.
    The kernels rewrite the gradient when they are given a scale, so a scaled call works on scaled copies unless
    *may_overwrite_grads* says that nobody looks at the gradients afterwards.
    """

    name: ClassVar[str] = "torch"

    def __init__(self, *, may_overwrite_grads: bool = False) -> None:
        self._reference = ReferenceEngine()
        self._may_overwrite_grads = may_overwrite_grads

    @staticmethod
    def knows(rule: Rule) -> bool:
        """Whether torch has a fused kernel for this rule's equation."""
        if type(rule) is SGD:
            # The kernel has one first-step flag for all tensors, which dampening alone makes visible.
            return bool(rule.dampening == 0)
        return type(rule) in (Adam, AdamW)

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
        if not self.knows(rule) or _has_tensors(hyper):
            self._reference.step(rule, params, grads, states, hyper, scale)
            return
        first = params[0]
        fast = first.device.type in _FUSED_DEVICES and first.dtype in _FUSED_DTYPES
        for param, grad, state in zip(params, grads, states, strict=True):
            if not (
                fast
                and param.dtype is first.dtype
                and param.device == first.device
                and grad.layout is torch.strided
                and grad.dtype is first.dtype
                and _is_dense(param)
                and _matches(param, state)
            ):
                fast = False
                break
        if not fast:
            self._mixed_step(rule, params, grads, states, hyper, scale)
            return
        grads = [g if g.stride() == p.stride() else torch.empty_like(p).copy_(g) for p, g in zip(params, grads, strict=True)]
        if scale is not None:
            if self._may_overwrite_grads:
                torch._foreach_mul_(grads, scale)
            else:
                grads = list(torch._foreach_mul(grads, scale))
        _fused(rule, list(params), grads, states, hyper)

    def _mixed_step(
        self,
        rule: Rule,
        params: Sequence[Tensor],
        grads: Sequence[Tensor],
        states: Sequence[State],
        hyper: Hyper,
        scale: Tensor | None,
    ) -> None:
        """Split a mixed group by dtype and device; run what is left over one by one through the reference."""
        buckets: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for index, (param, grad, state) in enumerate(zip(params, grads, states, strict=True)):
            regular = (
                param.device.type in _FUSED_DEVICES
                and param.dtype in _FUSED_DTYPES
                and grad.layout is torch.strided
                and grad.dtype is param.dtype
                and _is_dense(param)
                and _matches(param, state)
            )
            if regular:
                buckets.setdefault((param.device, param.dtype), []).append(index)
            else:
                self._reference.step(rule, [param], [grad], [state], hyper, scale)
        for rows in buckets.values():
            self.step(rule, [params[i] for i in rows], [grads[i] for i in rows], [states[i] for i in rows], hyper, scale)


def _has_tensors(hyper: Hyper) -> bool:
    """Whether a hyperparameter other than the rate is a tensor, which the kernels do not take."""
    for name in ("lr", "momentum", "weight_decay", "eps"):
        if isinstance(hyper.get(name), Tensor):
            return True
    betas = hyper.get("betas", ())
    return any(isinstance(beta, Tensor) for beta in betas)


def _is_dense(param: Tensor) -> bool:
    """Whether the elements fill their memory without gaps or overlaps, in any order, as the raw kernels assume."""
    if param.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted(zip(param.stride(), param.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


def _matches(param: Tensor, state: State) -> bool:
    """Whether every state tensor has the parameter's dtype and strides (``step`` aside)."""
    stride, dtype = param.stride(), param.dtype
    for name, value in state.items():
        if name != "step" and (value.stride() != stride or value.dtype is not dtype):
            return False
    return True


def _fused(rule: Rule, params: list[Tensor], grads: list[Tensor], states: Sequence[State], hyper: Hyper) -> None:
    options: dict[str, Any] = {
        "lr": hyper["lr"],
        "weight_decay": hyper["weight_decay"],
        "maximize": hyper["maximize"],
    }
    if type(rule) is SGD:
        momentum = hyper["momentum"] if states and "momentum_buffer" in states[0] else 0.0
        torch._fused_sgd_(
            params,
            grads,
            [state["momentum_buffer"] for state in states] if momentum else [],
            momentum=momentum,
            dampening=0.0,
            nesterov=hyper["nesterov"],
            is_first_step=False,  # the buffers start at zero, which without dampening is the same
            **options,
        )
        return
    steps = [state["step"] for state in states]
    torch._foreach_add_(steps, 1)
    device = params[0].device
    if device.type != "cpu" and steps[0].device != device:
        moved = [step.to(device) for step in steps]
        for state, step in zip(states, moved, strict=True):
            state["step"] = step
        steps = moved
    beta1, beta2 = hyper["betas"]
    kernel = torch._fused_adamw_ if type(rule) is AdamW else torch._fused_adam_
    amsgrad = "max_exp_avg_sq" in states[0]
    kernel(
        params,
        grads,
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [state["max_exp_avg_sq"] for state in states] if amsgrad else [],
        steps,
        beta1=beta1,
        beta2=beta2,
        eps=hyper["eps"],
        amsgrad=amsgrad,
        **options,
    )

"""torch's own fused and for-each updates, called directly, one function per rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.adadelta import adadelta
from torch.optim.adamax import adamax
from torch.optim.nadam import nadam
from torch.optim.radam import radam
from torch.optim.rmsprop import rmsprop

from thalweg.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Hyper, NAdam, RAdam, RMSprop, Rule, State

__all__ = ["Kernel", "kernel_of"]

Lists = dict[str, list[Tensor]]
Tensors = list[Tensor]


@dataclass(frozen=True)
class Kernel:
    """How torch runs one rule.

    Attributes:
        run: called with params, gradients, state lists by name, hyperparameters, ``grad_scale`` and ``found_inf``.
        fused: one pass over raw memory (strides must agree; takes ``grad_scale`` and ``found_inf``; right in half
            precision), or for-each operators, which round after every one of them.
    """

    run: Callable[[Tensors, Tensors, Lists, Hyper, Tensor | None, Tensor | None], None]
    fused: bool


def kernel_of(rule: Rule, state: State, hyper: Hyper) -> Kernel | None:
    """Return torch's kernel for *rule* with this state and these hyperparameters, or None where it has none."""
    kernel = _KERNELS.get(type(rule))
    if kernel is None:
        return None
    if type(rule) is SGD and hyper["dampening"] != 0:
        return None  # one first-step flag for all tensors, which dampening alone makes visible
    if "momentum_buffer" in state and hyper["momentum"] == 0:
        return None  # torch would leave the buffer as it is, where the rule lets it go
    return kernel


def _advance(lists: Lists, by: Tensor | int) -> None:
    """Count one step in every counter: in one operation where they lie side by side, as the native engine lays them."""
    if "flat_step" in lists:
        lists["flat_step"][0].add_(by)
    else:
        torch._foreach_add_(lists["step"], by)


def _take_back(lists: Lists, skip: Tensor | None) -> None:
    """Take the step back where *skip* says that it was none."""
    if skip is not None:
        _advance(lists, -skip.to(lists["step"][0].device))


def _sgd(
    params: Tensors, grads: Tensors, lists: Lists, hyper: Hyper, scale: Tensor | None, skip: Tensor | None
) -> None:
    buffers = lists.get("momentum_buffer", [])
    torch._fused_sgd_(
        params,
        grads,
        buffers,
        lr=hyper["lr"],
        weight_decay=hyper["weight_decay"],
        momentum=hyper["momentum"] if buffers else 0.0,
        dampening=0.0,
        nesterov=hyper["nesterov"],
        maximize=hyper["maximize"],
        is_first_step=False,  # the buffers start at zero, which without dampening is the same
        grad_scale=scale,
        found_inf=skip,
    )


def _adam_like(kernel: Callable[..., None]) -> Callable[..., None]:
    def run(
        params: Tensors, grads: Tensors, lists: Lists, hyper: Hyper, scale: Tensor | None, skip: Tensor | None
    ) -> None:
        _advance(lists, 1)  # the kernel reads the number of this step
        beta1, beta2 = hyper["betas"]
        largest = lists.get("max_exp_avg_sq", [])
        kernel(
            params,
            grads,
            lists["exp_avg"],
            lists["exp_avg_sq"],
            largest,
            lists["step"],
            lr=hyper["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=hyper["weight_decay"],
            eps=hyper["eps"],
            amsgrad=bool(largest),
            maximize=hyper["maximize"],
            grad_scale=scale,
            found_inf=skip,
        )
        _take_back(lists, skip)

    return run


def _adagrad(
    params: Tensors, grads: Tensors, lists: Lists, hyper: Hyper, scale: Tensor | None, skip: Tensor | None
) -> None:
    _advance(lists, 1)
    torch._fused_adagrad_(
        params,
        grads,
        lists["sum"],
        lists["step"],
        lr=hyper["lr"],
        lr_decay=hyper["lr_decay"],
        weight_decay=hyper["weight_decay"],
        eps=hyper["eps"],
        maximize=hyper["maximize"],
        grad_scale=scale,
        found_inf=skip,
    )
    _take_back(lists, skip)


_FOR_EACH: dict[str, Any] = {"foreach": True, "capturable": False, "differentiable": False, "has_complex": False}


def _rmsprop(
    params: Tensors, grads: Tensors, lists: Lists, hyper: Hyper, scale: Tensor | None, skip: Tensor | None
) -> None:
    buffers, means = lists.get("momentum_buffer", []), lists.get("grad_avg", [])
    rmsprop(
        params,
        grads,
        lists["square_avg"],
        means,
        buffers,
        lists["step"],
        lr=hyper["lr"],
        alpha=hyper["alpha"],
        eps=hyper["eps"],
        weight_decay=hyper["weight_decay"],
        momentum=hyper["momentum"] if buffers else 0.0,
        centered=bool(means),
        maximize=hyper["maximize"],
        **_FOR_EACH,
    )


def _for_each(
    function: Callable[..., None], states: tuple[str, ...], besides: tuple[str, ...] = ()
) -> Callable[..., None]:
    """Return torch's for-each form of a rule, given its state lists in torch's order and its own hyperparameters."""
    names = ("lr", "eps", "weight_decay", "maximize", *besides)

    def run(
        params: Tensors, grads: Tensors, lists: Lists, hyper: Hyper, scale: Tensor | None, skip: Tensor | None
    ) -> None:
        given = {name: hyper[name] for name in names}
        if "betas" in hyper:
            given["beta1"], given["beta2"] = hyper["betas"]
        function(params, grads, *(lists[name] for name in states), lists["step"], **given, **_FOR_EACH)

    return run


_KERNELS: dict[type[Rule], Kernel] = {
    SGD: Kernel(_sgd, fused=True),
    Adam: Kernel(_adam_like(torch._fused_adam_), fused=True),
    AdamW: Kernel(_adam_like(torch._fused_adamw_), fused=True),
    Adagrad: Kernel(_adagrad, fused=True),
    RMSprop: Kernel(_rmsprop, fused=False),
    NAdam: Kernel(
        _for_each(nadam, ("exp_avg", "exp_avg_sq", "mu_product"), ("momentum_decay", "decoupled_weight_decay")),
        fused=False,
    ),
    RAdam: Kernel(_for_each(radam, ("exp_avg", "exp_avg_sq"), ("decoupled_weight_decay",)), fused=False),
    Adamax: Kernel(_for_each(adamax, ("exp_avg", "exp_inf")), fused=False),
    Adadelta: Kernel(_for_each(adadelta, ("square_avg", "acc_delta"), ("rho",)), fused=False),
}

"""One update of K members at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from thalweg.optim import Muon, Rule, State, Wrapper

__all__ = ["RATIO", "StackedRule", "rate_ratio"]

#: Where a second rule's rate relative to the first one's stands in the hyperparameters (Muon's ``other``).
RATIO = "other_rate_ratio"

_PROBE = 2


def rate_ratio(rule: Rule) -> float | None:
    """Return the rate of a second rule within *rule* relative to its own, which ``hyper`` does not hold; or None.

    >>> from thalweg.optim import AdamW
    >>> rate_ratio(Muon(lr=0.02, other=AdamW(lr=0.001)))
    0.05
    """
    inner = rule
    while isinstance(inner, Wrapper):
        inner = inner.rule
    if isinstance(inner, Muon) and inner.other is not None and not inner.other.owns_rate:
        return float(inner.other.lr) / float(inner.lr)
    return None


def _with_ratio(rule: Rule, ratio: Any) -> Rule:
    """Return a copy whose second rule has *ratio* times its rate; a tensor, which a rule made anew would refuse."""
    twin = copy.copy(rule)
    if isinstance(rule, Wrapper):
        object.__setattr__(twin, "rule", _with_ratio(rule.rule, ratio))
        return twin
    assert isinstance(rule, Muon)
    assert rule.other is not None
    other = copy.copy(rule.other)
    object.__setattr__(other, "lr", ratio)
    object.__setattr__(twin, "lr", 1.0)
    object.__setattr__(twin, "other", other)
    return twin


class StackedRule:
    """A rule's equation for members on a leading dimension, with hyperparameters that are numbers or **(K,)** tensors.

    Rules of scope ``"element"`` are evaluated as they are, each hyperparameter shaped **(K, 1, …, 1)**; the others
    under ``torch.func.vmap``.

    Args:
        rule: its structure (which state there is, flags, whole numbers) is that of all members.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.broadcasts = rule.scope == "element"
        probe = rule.init(torch.zeros(_PROBE, _PROBE))
        self.scalars = {name for name, value in probe.items() if value.dim() == 0}

    def init(self, param: Tensor) -> State:
        """Return the state of one stacked parameter, **(K, …)**; what is 0-dim for one member is **(K,)**."""
        if not self.broadcasts:
            made = torch.func.vmap(self.rule.init)(param)
            return {name: value.clone(memory_format=torch.contiguous_format) for name, value in made.items()}
        state = self.rule.init(param)
        device = param.device
        return {
            name: value.to(device).expand(len(param)).clone() if name in self.scalars else value
            for name, value in state.items()
        }

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Mapping[str, Any]) -> tuple[Tensor, State]:
        """Return the stacked parameter and state after one update; nothing given is changed.

        Args:
            param, grad: **(K, …)**.
            state: as :meth:`init` made it.
            hyper: the param group; a value that differs between members is a **(K,)** tensor.
        """
        new, new_state = (self._broadcast if self.broadcasts else self._mapped)(param, grad, state, hyper)
        after = {}
        for name, value in state.items():
            found = new_state[name]
            found = found.reshape(value.shape) if found.shape != value.shape else found
            after[name] = found if found.dtype == value.dtype else found.to(value.dtype)
        return new if new.dtype == param.dtype else new.to(param.dtype), after

    def _broadcast(self, param: Tensor, grad: Tensor, state: State, hyper: Mapping[str, Any]) -> tuple[Tensor, State]:
        shape = (len(param), *(1,) * (param.dim() - 1))
        held = {name: value.view(shape) if name in self.scalars else value for name, value in state.items()}
        return self.rule.update(param, grad, held, _shaped(hyper, shape, param.dtype))

    def _mapped(self, param: Tensor, grad: Tensor, state: State, hyper: Mapping[str, Any]) -> tuple[Tensor, State]:
        moving = {name: _cast(value, param.dtype) for name, value in hyper.items() if _differs(value)}
        still = {name: value for name, value in hyper.items() if name not in moving}

        def one(p: Tensor, g: Tensor, s: State, own: dict[str, Any]) -> tuple[Tensor, State]:
            group = {**still, **own}
            ratio = group.pop(RATIO, None)
            rule = self.rule if ratio is None else _with_ratio(self.rule, ratio)
            return rule.update(p, g, s, group)

        dims = {name: _places(value) for name, value in moving.items()}
        found: tuple[Tensor, State] = torch.func.vmap(one, in_dims=(0, 0, 0, dims))(param, grad, dict(state), moving)
        return found

    def evaluation(self, param: Tensor, state: State, hyper: Mapping[str, Any]) -> Tensor:
        """Return the stacked values that evaluation should use."""
        if not self.rule.averages:
            return param
        if self.broadcasts:
            shape = (len(param), *(1,) * (param.dim() - 1))
            held = {name: value.view(shape) if name in self.scalars else value for name, value in state.items()}
            return self.rule.evaluation(param, held, _shaped(hyper, shape, param.dtype))
        moving = {name: _cast(value, param.dtype) for name, value in hyper.items() if _differs(value)}
        still = {name: value for name, value in hyper.items() if name not in moving}

        def one(p: Tensor, s: State, own: dict[str, Any]) -> Tensor:
            return self.rule.evaluation(p, s, {**still, **own})

        dims = {name: _places(value) for name, value in moving.items()}
        found: Tensor = torch.func.vmap(one, in_dims=(0, 0, dims))(param, dict(state), moving)
        return found


def _differs(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, tuple) and any(isinstance(item, Tensor) for item in value))


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, tuple):
        return tuple(_cast(item, dtype) for item in value)
    return value.to(dtype) if isinstance(value, Tensor) else value


def _places(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_places(item) for item in value)
    return 0 if isinstance(value, Tensor) else None


def _shaped(hyper: Mapping[str, Any], shape: Sequence[int], dtype: torch.dtype) -> dict[str, Any]:
    """Return the hyperparameters with every **(K,)** tensor shaped to meet a parameter."""

    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(one(item) for item in value)
        return value.to(dtype).view(shape) if isinstance(value, Tensor) else value

    return {name: one(value) for name, value in hyper.items()}

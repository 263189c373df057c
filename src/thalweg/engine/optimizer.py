"""The ``torch.optim.Optimizer`` around a rule and an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import check_number, unknown_name
from ..optim import Rule, State
from .base import Engine
from .clip import clip_coefficient, clipped_by_value, total_norm
from .native import NativeEngine
from .reference import ReferenceEngine

__all__ = ["RuleOptimizer", "choose_engine"]

ENGINES = ("auto", "reference", "torch")


def choose_engine(name: str, rule: Rule) -> tuple[Engine, str]:
    """Return the engine of that name for *rule*, and in words why ``"auto"`` took it.

    Raises:
        ValueError: an unknown engine, or ``"torch"`` for a rule that torch has no kernel for.
    """
    if name not in ENGINES:
        raise unknown_name(type(rule).__name__, "engine", name, ENGINES)
    if name == "reference":
        return ReferenceEngine(), "asked for"
    if name == "torch":
        if not NativeEngine.knows(rule):
            raise ValueError(
                f"{type(rule).__name__}: engine='torch' was asked for, but torch has no fused kernel for {rule!r}; "
                "use engine='auto'."
            )
        return NativeEngine(), "asked for"
    if NativeEngine.knows(rule):
        return NativeEngine(), "torch has a fused kernel for this rule"
    return ReferenceEngine(), "torch has no fused kernel for this rule"


class RuleOptimizer(torch.optim.Optimizer):
    """A torch optimizer that executes a Thalweg rule.

    ``state`` and ``state_dict()`` have torch's layout, so that a run can move from torch's class to ours and back in
    the middle. Made by :meth:`thalweg.optim.Rule.optimizer`.

    Args:
        rule: the update rule; its fields are the defaults of every group.
        params: tensors, named tensors or groups.
        clip_norm: largest 2-norm of all gradients of all groups together, > 0, or None.
        clip_value: largest absolute gradient element, > 0, or None; applied before the norm.
        engine: ``"auto"``, ``"reference"`` or ``"torch"``.

    Raises:
        ValueError: bad hyperparameters in a group, an empty parameter list, a parameter in two groups.
    """

    def __init__(
        self,
        rule: Rule,
        params: Iterable[Any],
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        engine: str = "auto",
    ) -> None:
        self.rule = rule
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        for name, bound in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if bound is not None:
                check_number(type(rule).__name__, name, bound, low=0.0, low_open=True)
        self.engine, self.engine_reason = choose_engine(engine, rule)
        self.last_norm: Tensor | None = None
        super().__init__(params, rule.hyper())

    def __repr__(self) -> str:
        return f"{self.rule!r}.optimizer(..., clip_norm={self.clip_norm!r}, clip_value={self.clip_value!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its own hyperparameters are checked as the rule's are."""
        super().add_param_group(param_group)
        try:
            self._group_rule(self.param_groups[-1])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def _group_rule(self, group: dict[str, Any]) -> Rule:
        """Return the rule with the group's own settings; floats only, tensors keep the rule's."""
        own = {}
        for field in fields(self.rule):
            value = group.get(field.name, getattr(self.rule, field.name))
            if not isinstance(value, Tensor) and value != getattr(self.rule, field.name):
                own[field.name] = tuple(value) if isinstance(value, list) else value
        return replace(self.rule, **own) if own else self.rule

    def ensure_state(self, group: dict[str, Any], params: Iterable[Tensor]) -> list[State]:
        """Return the states of *params*, made where there is none yet."""
        states: list[State] = []
        rule: Rule | None = None
        for param in params:
            state = self.state[param]
            if not state:
                rule = rule or self._group_rule(group)
                state.update(rule.init(param))
            states.append(state)
        return states

    @torch.no_grad()
    def apply(self, scale: Tensor | None = None, norm: Tensor | None = None) -> None:
        """Update all groups from the gradients in ``param.grad``; the step without closure and hooks.

        Args:
            scale: 0-dim factor on every gradient, clipping apart; the gradients' norm is taken after it.
            norm: the 2-norm of the unscaled gradients where the caller has it already.
        """
        chosen = []
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                chosen.append((group, params, [p.grad for p in params]))
        if self.clip_value is not None:
            if scale is not None:
                chosen = [(g, p, list(torch._foreach_mul(grads, scale))) for g, p, grads in chosen]
                scale = None
            chosen = [(g, p, clipped_by_value(grads, self.clip_value)) for g, p, grads in chosen]
            norm = None
        if self.clip_norm is not None:
            if norm is None:
                norm = total_norm([grad for _, _, grads in chosen for grad in grads])
            if scale is not None:
                norm = norm * scale
            self.last_norm = norm
            coefficient = clip_coefficient(norm, self.clip_norm)
            scale = coefficient if scale is None else scale * coefficient
        for group, params, grads in chosen:
            states = self.ensure_state(group, params)
            self.engine.step(self.rule, params, grads, states, group, scale)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient.

        Args:
            closure: recomputes the loss and its gradients, and returns the loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.apply()
        return loss

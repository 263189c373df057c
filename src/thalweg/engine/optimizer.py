"""The ``torch.optim.Optimizer`` around a rule and an engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from thalweg.engine.base import Engine
from thalweg.engine.choice import choose_engine
from thalweg.engine.clip import clip_coefficient, clipped_by_value
from thalweg.engine.loading import group_from, refuse_layout, state_from
from thalweg.engine.reference import real, widened
from thalweg.engine.rounding import Rounder
from thalweg.engine.sharded import check_sharded
from thalweg.engine.slot import Slot
from thalweg.engine.state_dtype import checked_state_dtype, lowered
from thalweg.errors import check_number
from thalweg.optim import Rule, State

__all__ = ["RuleOptimizer"]


class RuleOptimizer(torch.optim.Optimizer):
    """A torch optimizer that executes a Thalweg rule.

    ``state`` and ``state_dict()`` have torch's layout, so that a run can move from torch's class to ours and back in
    the middle. Made by :meth:`thalweg.optim.Rule.optimizer`.

    Args:
        rule: the update rule; its fields are the defaults of every group.
        params: tensors, named tensors or groups.
        clip_norm: largest 2-norm of all gradients of all groups together, > 0, or None.
        clip_value: largest absolute gradient element, > 0, or None; applied before the norm.
        engine: ``"auto"``, ``"reference"``, ``"torch"`` or ``"compiled"``.
        stochastic_rounding: round bfloat16 parameters and states at random, right on average.
        state_dtype: ``"bfloat16"`` keeps moments at half the size, rounded at random; None in the parameter's dtype.
        rounding_seed: seed of those draws.

    Attributes:
        engine: what executes the rule; ``engine_reason`` says why it was taken.
        last_norm: 0-dim norm of all gradients before clipping, of the last step that clipped by norm.

    Raises:
        ValueError: bad hyperparameters in a group, an empty parameter list, a parameter in two groups, a parameter that
            the rule cannot update.
        TypeError: something that is no list of parameters.
    """

    # GradScaler then leaves unscaling and skipping to us, on the device, instead of reading the flag every step.
    _step_supports_amp_scaling = True

    def __init__(
        self,
        rule: Rule,
        params: Iterable[Any],
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        engine: str = "auto",
        stochastic_rounding: bool = False,
        rounding_seed: int = 0,
        state_dtype: str | torch.dtype | None = None,
    ) -> None:
        self.rule = rule
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        for name, bound in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if bound is not None:
                check_number(type(rule).__name__, name, bound, low=0.0, low_open=True)
        self.engine_name = engine
        self.state_dtype = checked_state_dtype(type(rule).__name__, state_dtype)
        self.engine, self.engine_reason = choose_engine(engine, rule, [])  # by size as soon as there are parameters
        # To nearest, a second moment in bfloat16 would stay where it is: it moves by less than half a unit per step.
        self.rounder = Rounder(rounding_seed) if stochastic_rounding or self.state_dtype is not None else None
        self.last_norm: Tensor | None = None
        self._slots: list[Slot] = []
        super().__init__(self._parameter_list(params), rule.hyper())
        self.expect(None)

    def expect(self, steps: int | None) -> None:
        """Choose the engine for so many updates to come; None says that nobody knows.

        State and results stay what they are: engines agree within rounding.
        """
        engine, self.engine_reason = self._chosen(steps)
        if engine.name != self.engine.name:
            self.engine, self._slots = engine, []

    def _chosen(self, steps: int | None) -> tuple[Engine, str]:
        params = [param for group in self.param_groups for param in group["params"]]
        at_random = self.rounder is not None and (
            self.state_dtype is not None or any(param.dtype is torch.bfloat16 for param in params)
        )
        return choose_engine(self.engine_name, self.rule, params, steps, at_random=at_random)

    def total_norm(self, grads: list[Tensor]) -> Tensor:
        """Return the 2-norm of *grads* together as a 0-dim tensor, the way the engine computes it."""
        return self.engine.total_norm(grads)

    def _parameter_list(self, params: Any) -> list[Any]:
        who = type(self.rule).__name__
        if isinstance(params, (Tensor, torch.nn.Module)) or not isinstance(params, Iterable):
            advice = "model.parameters()" if isinstance(params, torch.nn.Module) else "a list of tensors or of groups"
            raise TypeError(f"{who}: params is a {type(params).__name__}, not a list of parameters; pass {advice}.")
        given = list(params)
        if not given:
            raise ValueError(
                f"{who}: the parameter list is empty; pass e.g. model.parameters() of a model that has some."
            )
        return given

    def __repr__(self) -> str:
        return f"{self.rule!r}.optimizer(..., clip_norm={self.clip_norm!r}, clip_value={self.clip_value!r})"

    def __getstate__(self) -> dict[str, Any]:
        kept = {**self.__dict__, "_slots": [], "engine": None, "rounder": None}
        kept["rounding"] = None if self.rounder is None else (self.rounder.seed, self.rounder.state())
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        rounding = state.pop("rounding", None)
        super().__setstate__(state)
        self._slots = []
        if rounding is not None:
            self.rounder = Rounder(rounding[0])
            self.rounder.load_state(rounding[1])
        if self.engine is None:
            self.engine, self.engine_reason = self._chosen(None)

    def add_param_group(self, param_group: Any) -> None:
        """Add a group; its own hyperparameters and parameters are checked as the rule's are.

        Raises:
            ValueError: a hyperparameter out of range, a parameter that is in another group already or that the rule
                cannot update.
        """
        who = type(self.rule).__name__
        if isinstance(param_group, dict) and isinstance(param_group.get("params"), Iterable):
            given = param_group["params"]
            given = [given] if isinstance(given, Tensor) else given if isinstance(given, set) else list(given)
            param_group = {**param_group, "params": given}
            taken = {id(param) for group in self.param_groups for param in group["params"]}
            for index, item in enumerate(given):
                tensor = item[1] if isinstance(item, tuple) else item
                if id(tensor) in taken:
                    name = repr(item[0]) if isinstance(item, tuple) else f"parameter {index} of the new group"
                    raise ValueError(
                        f"{who}: {name} is in another group already, and would be updated twice; "
                        "let every parameter be in one group."
                    )
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name, value in group.items():
            if isinstance(value, Tensor):
                group[name] = value.clone()  # torch's schedulers fill it in place, and the rule is not theirs to change
        try:
            rule = self.rule.with_hyper(group)
            for index, param in enumerate(group["params"]):
                rule.check_param(param, self._name(group, index), group)
                check_sharded(rule, param)
                if self.rounder is not None and param.dtype is torch.float16:
                    raise ValueError(
                        f"{who}: stochastic_rounding is for bfloat16, and {self._name(group, index)} is float16; "
                        "use bfloat16 or float32 parameters, or round to nearest."
                    )
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def _name(self, group: dict[str, Any], index: int) -> str:
        names = group.get("param_names")
        if names:
            return f"parameter {names[index]!r}"
        number = next(i for i, one in enumerate(self.param_groups) if one is group)
        return f"parameter {index} of group {number}"

    def ensure_state(self, group: dict[str, Any], params: Iterable[Tensor]) -> list[State]:
        """Return the states of *params*, made where there is none yet."""
        states: list[State] = []
        rule: Rule | None = None
        for param in params:
            state = self.state[param]
            if not state:
                rule = rule or self.rule.with_hyper(group)
                state.update(self._kept(rule, rule.init(param), param))
            states.append(state)
        return states

    def _kept(self, rule: Rule, state: State, param: Tensor) -> State:
        return state if self.state_dtype is None else lowered(rule, state, param, self.state_dtype)

    def apply(
        self,
        scale: Tensor | None = None,
        norm: Tensor | None = None,
        *,
        skip: Tensor | None = None,
        overwrite: bool = False,
    ) -> None:
        """Update all groups from the gradients in ``param.grad``; the step without closure and hooks.

        Args:
            scale: 0-dim factor on every gradient, clipping apart; the gradients' norm is taken after it.
            norm: the 2-norm of the unscaled gradients where the caller has it already.
            skip: 0-dim tensor; where it is not zero nothing changes, decided on the device.
            overwrite: nobody reads the gradients afterwards, so that they may be scaled in place.
        """
        was_on = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        try:
            self._apply(scale, norm, skip, overwrite)
        finally:
            torch.set_grad_enabled(was_on)

    def _apply(self, scale: Tensor | None, norm: Tensor | None, skip: Tensor | None, overwrite: bool) -> None:
        slots = self._slots
        groups = self.param_groups
        if len(slots) != len(groups):
            slots = self._slots = [Slot() for _ in groups]
        chosen = [slot.gradients(group["params"]) for slot, group in zip(slots, groups, strict=True)]
        if self.clip_value is not None:
            if scale is not None:
                chosen = [[grad * scale.to(grad.dtype) for grad in grads] for grads in chosen]
                scale = None
            chosen = [clipped_by_value(grads, self.clip_value) for grads in chosen]
            norm, overwrite = None, True  # they are copies
        if self.clip_norm is not None:
            if norm is None:
                norm = self.total_norm([grad for grads in chosen for grad in grads])
            if scale is not None:
                norm = norm * scale
            self.last_norm = norm
            coefficient = clip_coefficient(norm, self.clip_norm)
            scale = coefficient if scale is None else scale * coefficient
        for group, slot, grads in zip(groups, slots, chosen, strict=True):
            if not grads:
                continue
            if not slot.has_states(self.state):
                slot.keep_states(self.ensure_state(group, slot.params))
            self.engine.step(
                self.rule,
                slot.params,
                grads,
                slot.states,
                group,
                scale,
                skip=skip,
                rounder=self.rounder,
                overwrite=overwrite,
                memo=slot.memo,
            )

    def bind(self) -> Callable[[list[Tensor]], None] | None:
        """Return the update as a function of all gradients in order, with everything else asked beforehand.

        For a loop that knows that between two steps nobody exchanges parameters, states or groups, and that every
        parameter has a gradient, which may be overwritten. None before the first step, and where there is clipping or
        rounding, or an engine that gains nothing by it.
        """
        if self.clip_norm is not None or self.clip_value is not None or self.rounder is not None:
            return None
        if len(self._slots) != len(self.param_groups):
            return None
        parts: list[tuple[int, Callable[[list[Tensor]], None]]] = []
        for group, slot in zip(self.param_groups, self._slots, strict=True):
            if len(slot.params) != len(group["params"]) or not slot.has_states(self.state):
                return None
            part = self.engine.bind(self.rule, slot.params, slot.states, group, slot.memo)
            if part is None:
                return None
            parts.append((len(slot.params), part))
        if len(parts) == 1:
            return parts[0][1]

        def run(grads: list[Tensor]) -> None:
            start = 0
            for count, part in parts:
                part(grads[start : start + count])
                start += count

        return run

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Under a ``GradScaler`` the gradients are unscaled on the way in, and a step with a non-finite gradient is
        skipped, both on the device.

        Args:
            closure: recomputes the loss and its gradients, and returns the loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        grad_scale = getattr(self, "grad_scale", None)
        scale = None if grad_scale is None else grad_scale.double().reciprocal().float()
        self.apply(scale, skip=getattr(self, "found_inf", None))
        return loss

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the values that evaluation should use in place of the parameters, and put these back bit for bit.

        Nothing happens for a rule that does not average. BatchNorm statistics are the caller's.

        >>> import thalweg as tw
        >>> w = torch.nn.Parameter(torch.tensor([0.0]))
        >>> opt = tw.optim.Averaged(tw.optim.SGD(lr=1.0), decay=None).optimizer([w])
        >>> for _ in range(3):
        ...     w.grad = torch.tensor([-1.0])
        ...     opt.step()
        >>> with opt.evaluating():
        ...     print(w.item())
        2.0
        >>> w.item()
        3.0
        """
        kept: list[tuple[Tensor, Tensor]] = []
        try:
            if self.rule.averages:
                with torch.no_grad():
                    for group in self.param_groups:
                        for param in group["params"]:
                            if self.state.get(param):
                                value = self._evaluation(param, group)
                                kept.append((param, param.detach().clone()))
                                param.copy_(value)
            yield
        finally:
            with torch.no_grad():
                for param, value in kept:
                    param.copy_(value)

    def _evaluation(self, param: Tensor, group: dict[str, Any]) -> Tensor:
        state = {name: widened(real(value)) for name, value in self.state[param].items()}
        value = self.rule.evaluation(widened(real(param)), state, group)
        return torch.view_as_complex(value.contiguous()) if param.is_complex() else value

    def state_dict(self) -> dict[str, Any]:
        """Return groups and states in torch's layout; with stochastic rounding, its generators under ``"rounding"``."""
        packed = super().state_dict()
        if self.rounder is not None:
            packed["rounding"] = {"seed": self.rounder.seed, "generators": self.rounder.state()}
        return packed

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a ``state_dict`` of this rule, written here or by torch's class of the rule.

        States keep the dtype they were saved in (torch's optimizers cast them to the parameter's), and are copied.

        Raises:
            ValueError: other groups, or the state of another rule or of other shapes.
        """
        state_dict = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = hook(self, state_dict)
            state_dict = state_dict if replaced is None else replaced
        saved = state_dict["param_groups"]
        refuse_layout(self.rule, self.param_groups, saved)
        groups = [
            group_from(
                self.rule, group, deepcopy({k: v for k, v in theirs.items() if k != "params"}), f"group {number}"
            )
            for number, (group, theirs) in enumerate(zip(self.param_groups, saved, strict=True))
        ]
        rules = [self.rule.with_hyper(group) for group in groups]
        state: defaultdict[Any, Any] = defaultdict(dict)
        known: set[Any] = set()
        for rule, group, theirs in zip(rules, self.param_groups, saved, strict=True):
            for index, (param, key) in enumerate(zip(group["params"], theirs["params"], strict=True)):
                known.add(key)
                if key in state_dict["state"]:
                    taken = state_from(rule, param, state_dict["state"][key], self._name(group, index))
                    state[param] = self._kept(rule, taken, param)
        state.update({key: value for key, value in state_dict["state"].items() if key not in known})
        self.state = state
        self.param_groups = groups
        self._slots = []
        if self.rounder is not None and "rounding" in state_dict:
            self.rounder = Rounder(state_dict["rounding"]["seed"])
            self.rounder.load_state(state_dict["rounding"]["generators"])
        for done in self._optimizer_load_state_dict_post_hooks.values():
            done(self)

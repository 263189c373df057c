"""What wraps a rule: something done to the weights after every update of another rule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from thalweg.optim.base import Hyper, Rule, State

__all__ = ["Wrapper"]


class Wrapper(Rule):
    """A rule around ``rule``: its update comes first, then :meth:`wrap`.

    The inner rule's hyperparameters are the param group's own, so that schedules reach them; the wrapper's stand beside
    them under ``prefix`` (RMSprop has an ``alpha`` too). The inner state keeps its names, so that it still moves to
    torch's class; ``state_names`` are the wrapper's.
    """

    rule: Rule
    prefix: ClassVar[str]
    state_names: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise TypeError(
                f"{type(self).__name__}: rule={self.rule!r} is not an update rule; "
                f"write e.g. {type(self).__name__}(AdamW(lr=1e-3))."
            )
        for name in ("scope", "complex", "torch_class"):
            object.__setattr__(self, name, getattr(self.rule, name))
        self.validate()

    @property
    def lr(self) -> Any:
        """The inner rule's rate."""
        return self.rule.lr

    @property
    def averages(self) -> bool:
        return self.rule.averages

    @property
    def owns_rate(self) -> bool:
        return self.rule.owns_rate

    def own(self) -> dict[str, Any]:
        """Return the wrapper's own settings by the names of its fields."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "rule"}  # type: ignore[arg-type]

    def hyper(self) -> dict[str, Any]:
        return {**self.rule.hyper(), **{self.prefix + name: value for name, value in self.own().items()}}

    def with_hyper(self, group: Hyper) -> Self:
        own = {name: group.get(self.prefix + name, value) for name, value in self.own().items()}
        return replace(self, rule=self.rule.with_hyper(group), **own)  # type: ignore[type-var]

    def check_param(self, param: Tensor, name: str, group: Hyper) -> None:
        self.rule.check_param(param, name, group)

    def inner_state(self, state: State) -> State:
        """Return the part of *state* that is the inner rule's."""
        return {name: value for name, value in state.items() if name not in self.state_names}

    def adopt(self, state: Mapping[str, Any], param: Tensor) -> dict[str, Any]:
        mine = {name: value for name, value in state.items() if name in self.state_names}
        return {**self.rule.adopt(self.inner_state(dict(state)), param), **(mine or self.wrap_init(param))}

    def evaluation(self, param: Tensor, state: State, hyper: Hyper) -> Tensor:
        return self.rule.evaluation(param, self.inner_state(state), hyper)

    def init(self, param: Tensor) -> State:
        return {**self.rule.init(param), **self.wrap_init(param)}

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        param, inner = self.rule.update(param, grad, self.inner_state(state), hyper)
        param, own = self.wrap(param, state, hyper)
        return param, {**inner, **own}

    @abstractmethod
    def wrap_init(self, param: Tensor) -> State:
        """Return the wrapper's own state, under ``state_names``."""

    @abstractmethod
    def wrap(self, param: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        """Return the parameter and the wrapper's own new state, given the parameter after the inner update."""

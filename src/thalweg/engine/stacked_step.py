"""The step of K members, eager or as one compiled call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from thalweg.data import split
from thalweg.optim import State

from .flat_graph import compiled_graph
from .stacked_objective import StackedObjective, clip_factors
from .stacked_rule import StackedRule

__all__ = ["CompiledStack", "Members", "Moment", "eager_step", "limited", "updated"]

Hypers = Sequence[Mapping[str, Any]]


@dataclass
class Members:
    """What K members consist of; every tensor is **(K, …)**.

    Attributes:
        params: trained parameters by name.
        fixed: parameters that are not trained.
        buffers: by name.
        states: parameter → the rule's state.
        groups: parameter → the number of its group.
    """

    params: dict[str, Tensor]
    fixed: dict[str, Tensor]
    buffers: dict[str, Tensor]
    states: dict[str, State]
    groups: dict[str, int]

    @property
    def count(self) -> int:
        """The number of members."""
        return len(next(iter(self.params.values())))

    def take(self, rows: Tensor) -> Members:
        """Return the members *rows*, int64, as copies."""

        def chosen(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.index_select(0, rows.to(tensor.device)) for name, tensor in tensors.items()}

        states = {name: chosen(state) for name, state in self.states.items()}
        return Members(chosen(self.params), chosen(self.fixed), chosen(self.buffers), states, self.groups)

    @staticmethod
    def joined(parts: Sequence[Members]) -> Members:
        """Return the members of all *parts* one after the other, as copies."""
        first = parts[0]

        def cat(which: str) -> dict[str, Tensor]:
            return {name: torch.cat([getattr(part, which)[name] for part in parts]) for name in getattr(first, which)}

        states = {
            name: {key: torch.cat([part.states[name][key] for part in parts]) for key in state}
            for name, state in first.states.items()
        }
        return Members(cat("params"), cat("fixed"), cat("buffers"), states, first.groups)


@dataclass
class Moment:
    """What one update needs besides members and batch.

    Attributes:
        hypers: per group, hyperparameters; a value that differs between members is a **(K,)** tensor.
        clip_norm, clip_value: limits, **(K,)**, infinite where a member has none; None where no member has one.
        smoothing: label smoothing, **(K,)**, where members differ.
        keys: of the dropouts, **(K, L)**, or None.
        own: whether the batch is **(K, B, …)**.
    """

    hypers: Hypers
    clip_norm: Tensor | None = None
    clip_value: Tensor | None = None
    smoothing: Tensor | None = None
    keys: Tensor | None = None
    own: bool = False


def updated(
    rule: StackedRule, members: Members, grads: Mapping[str, Tensor], moment: Moment
) -> tuple[dict[str, Tensor], dict[str, State]]:
    """Return parameters and states after one update from *grads*, clipped; nothing given is changed."""
    found = dict(grads)
    if moment.clip_value is not None:
        for name, grad in found.items():
            found[name] = limited(grad, moment.clip_value)
    if moment.clip_norm is not None:
        factors = clip_factors(list(found.values()), moment.clip_norm)
        found = {name: grad * factors.view(-1, *(1,) * (grad.dim() - 1)) for name, grad in found.items()}
    params, states = {}, {}
    for name, grad in found.items():
        hyper = moment.hypers[members.groups[name]]
        params[name], states[name] = rule.update(members.params[name], grad, members.states[name], hyper)
    return params, states


def limited(grad: Tensor, limit: Tensor) -> Tensor:
    """Return *grad*, **(K, …)**, with every element within each member's limit, **(K,)**."""
    most = limit.to(grad.dtype).view(-1, *(1,) * (grad.dim() - 1))
    return torch.minimum(torch.maximum(grad, -most), most)


def eager_step(objective: StackedObjective, rule: StackedRule, members: Members, batch: Any, moment: Moment) -> Tensor:
    """Make one update of every member and return their mean losses before it, **(K,)**.

    A failure (out of memory) leaves the members as they were.
    """
    grads, mean, after = objective.gradients(
        members.params, members.fixed, members.buffers, split(batch), moment.keys, moment.smoothing, own=moment.own
    )
    there = {name: grad for name, grad in zip(members.params, grads, strict=True) if grad is not None}
    with torch.no_grad():
        params, states = updated(rule, members, there, moment)
    members.params.update(params)
    members.states.update(states)
    members.buffers.update(after)
    return mean


@dataclass
class CompiledStack:
    """:func:`eager_step` traced as one graph and compiled, for one number of members and one shape of batch.

    Parameters, states and buffers are updated in place. Hyperparameters, keys and limits are inputs, so that nothing
    that changes during a race compiles anew.

    Args:
        objective: in a form that remembers nothing while it is traced.
        rule: of all members.
        members: the tensors to update; they must stay the same objects.
        batch: an example.
        moment: an example.

    Raises:
        CannotCompile: the model cannot be traced, or there is no working compiler.
    """

    objective: StackedObjective
    rule: StackedRule
    members: Members
    batch: Any
    moment: Moment
    _call: Callable[..., Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._leaves, self._spec = tree_flatten(self.batch)
        self._shape = _shapes(self._leaves)
        self._held = _tensors(self.members)
        self._moving = _moving(self.moment)
        self._call = self._compile()

    def fits(self, batch: Any, moment: Moment) -> bool:
        """Whether the graph is the one for this batch."""
        leaves, spec = tree_flatten(batch)
        return spec == self._spec and _shapes(leaves) == self._shape and moment.own == self.moment.own

    def __call__(self, batch: Any, moment: Moment) -> Tensor:
        """Make one update of every member and return their mean losses before it, **(K,)**."""
        leaves, _ = tree_flatten(batch)
        mean: Tensor = self._call(*self._held, *_moving(moment), *leaves)[0]
        return mean

    def _compile(self) -> Callable[..., Any]:
        return compiled_graph(self._flat_step, [*self._held, *self._moving, *self._leaves], "the stacked step")

    def _flat_step(self, *flat: Any) -> tuple[Tensor]:
        cursor = iter(flat)
        real = self.members
        members = Members(
            {name: next(cursor) for name in real.params},
            {name: next(cursor) for name in real.fixed},
            {name: next(cursor) for name in real.buffers},
            {name: {key: next(cursor) for key in state} for name, state in real.states.items()},
            real.groups,
        )
        moment = _with_moving(self.moment, cursor)
        parts = split(tree_unflatten(list(cursor), self._spec))
        names = list(members.params)

        def value(params: list[Tensor]) -> tuple[Tensor, Any]:
            held = {**dict(zip(names, params, strict=True)), **members.fixed}
            mean, after = self.objective.means(
                held, members.buffers, parts, moment.keys, moment.smoothing, own=moment.own
            )
            return mean.sum(), (mean, after)

        grads, (mean, after) = torch.func.grad(value, has_aux=True)(list(members.params.values()))
        params, states = updated(self.rule, members, dict(zip(names, grads, strict=True)), moment)
        for name, tensor in members.params.items():
            tensor.copy_(params[name])
            for key, kept in members.states[name].items():
                kept.copy_(states[name][key])
        for name, tensor in members.buffers.items():
            tensor.copy_(after[name])
        return (mean,)


def _tensors(members: Members) -> list[Tensor]:
    held = [*members.params.values(), *members.fixed.values(), *members.buffers.values()]
    return [*held, *(value for state in members.states.values() for value in state.values())]


def _moving(moment: Moment) -> list[Tensor]:
    """Return every tensor of the moment in a fixed order."""
    leaves, _ = tree_flatten([dict(hyper) for hyper in moment.hypers])
    others = (moment.clip_norm, moment.clip_value, moment.smoothing, moment.keys)
    return [leaf for leaf in (*leaves, *others) if isinstance(leaf, Tensor)]


def _with_moving(moment: Moment, cursor: Any) -> Moment:
    """Return the moment with its tensors taken from *cursor*, in the order of :func:`_moving`."""

    def taken(value: Any) -> Any:
        return next(cursor) if isinstance(value, Tensor) else value

    leaves, spec = tree_flatten([dict(hyper) for hyper in moment.hypers])
    hypers = tree_unflatten([taken(leaf) for leaf in leaves], spec)
    norm, value, smoothing, keys = map(taken, (moment.clip_norm, moment.clip_value, moment.smoothing, moment.keys))
    return Moment(hypers, norm, value, smoothing, keys, moment.own)


def _shapes(leaves: Sequence[Any]) -> list[Any]:
    return [(leaf.shape, leaf.dtype, leaf.stride()) if isinstance(leaf, Tensor) else leaf for leaf in leaves]

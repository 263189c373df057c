"""The update of stacked members with all parameters of a group side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.optim import State

from .stacked_objective import clip_factors
from .stacked_rule import StackedRule
from .stacked_step import Members, Moment, limited

__all__ = ["SMALL", "FlatUpdate"]

SMALL = 1 << 20  #: Elements of all members; beyond them an operation takes longer than to start it.


class FlatUpdate:
    """A rule of scope ``"element"`` on tensors **(K, P)**, one per param group, whose parts are the parameters.

    A small model's update is mostly the starting of operations: of every operation of the rule for every parameter.
    Side by side there is one for all of them, for the price of one concatenation of the gradients.

    Args:
        rule: of all members.
        members: their parameters become parts of larger tensors, and are set anew by every update.
        alike: param group → the first one with the same hyperparameters, which it is joined with.
    """

    def __init__(self, rule: StackedRule, members: Members, alike: Sequence[int]) -> None:
        self.rule, self._members = rule, members
        count = members.count
        group = {name: alike[members.groups[name]] for name in members.params}
        numbers = sorted(set(group.values()))
        self._names = [[name for name in members.params if group[name] == number] for number in numbers]
        self._numbers = numbers
        self._shapes = [[members.params[name].shape for name in names] for names in self._names]
        self._sizes = [[members.params[name][0].numel() for name in names] for names in self._names]
        self._places = [[list(members.params).index(name) for name in names] for names in self._names]
        self._params = [self._joined([members.params[name] for name in names], count) for names in self._names]
        self._states: list[State] = []
        self._behind = False  # whether the members' own states are those of an earlier update
        for names in self._names:
            first = members.states[names[0]]
            held = {}
            for key in first:
                parts = [members.states[name][key] for name in names]
                held[key] = parts[0] if key in rule.scalars else self._joined(parts, count)
            self._states.append(held)

    @staticmethod
    def serves(rule: StackedRule, members: Members) -> bool:
        """Whether it computes what the update parameter by parameter does, and is likely to be faster."""
        if len(members.params) < 2 or sum(param.numel() for param in members.params.values()) > SMALL:
            return False
        return FlatUpdate.lies_side_by_side(rule, members)

    @staticmethod
    def lies_side_by_side(rule: StackedRule, members: Members) -> bool:
        """Whether the rule treats elements one by one and its states can lie as the parameters do."""
        if not rule.broadcasts:
            return False
        kinds = {(param.dtype, param.device) for param in members.params.values()}
        same = all(
            key in rule.scalars or value.shape == param.shape
            for name, param in members.params.items()
            for key, value in members.states[name].items()
        )
        return same and len(kinds) == 1 and _in_step(rule, members)

    def step(self, grads: Sequence[Tensor], moment: Moment) -> None:
        """Update every member; *grads* in the order of the parameters. A failure leaves them as they were."""
        count = self._members.count
        found = [self._joined([grads[place] for place in places], count) for places in self._places]
        if moment.clip_value is not None:
            found = [limited(grad, moment.clip_value) for grad in found]
        if moment.clip_norm is not None:
            factors = clip_factors(found, moment.clip_norm).unsqueeze(1)
            found = [grad * factors for grad in found]
        after = [
            self.rule.update(param, grad, state, moment.hypers[number])
            for param, grad, state, number in zip(self._params, found, self._states, self._numbers, strict=True)
        ]
        self._params = [param for param, _ in after]
        self._states = [state for _, state in after]
        self._behind = True
        for names, shapes, sizes, param in zip(self._names, self._shapes, self._sizes, self._params, strict=True):
            for name, shape, part in zip(names, shapes, param.split_with_sizes(sizes, 1), strict=True):
                self._members.params[name] = part.view(shape)

    def collect(self) -> None:
        """Bring the states back to their parameters."""
        if not self._behind:
            return
        self._behind = False
        for names, shapes, sizes, held in zip(self._names, self._shapes, self._sizes, self._states, strict=True):
            states: list[State] = [{} for _ in names]
            for key, value in held.items():
                parts = [value] * len(names) if key in self.rule.scalars else value.split_with_sizes(sizes, 1)
                for state, shape, part in zip(states, shapes, parts, strict=True):
                    state[key] = part if key in self.rule.scalars else part.view(shape)
            self._members.states.update(zip(names, states, strict=True))

    @staticmethod
    def _joined(parts: Sequence[Tensor], count: int) -> Tensor:
        return torch.cat([part.reshape(count, -1) for part in parts], 1)


def _in_step(rule: StackedRule, members: Members) -> bool:
    """Whether the parameters agree in what the rule keeps once for each (they have made the same steps)."""
    states = [members.states[name] for name in members.params]
    return all(torch.equal(state[key], states[0][key]) for state in states[1:] for key in rule.scalars)

"""The update of stacked members one after the other, by the kernels of a training alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..engine import RuleOptimizer
from ..engine.stacked_step import Members
from .candidate import Candidate
from .hypers import Hypers

__all__ = ["EachUpdate"]


class EachUpdate:
    """One optimizer per member, whose parameters and states are views of the stack.

    For members of many parameters: a fused kernel walks them once, where the stacked update reads and writes them for
    every operation of the rule.

    Args:
        candidates: of the members.
        members: updated in place from now on.
        groups: what each param group sets for itself.
    """

    def __init__(self, candidates: Sequence[Candidate], members: Members, groups: Sequence[Mapping[str, Any]]) -> None:
        self._members = members
        self._names = list(members.params)
        self._params = [
            [nn.Parameter(members.params[name][row]) for name in self._names] for row in range(len(candidates))
        ]
        self._optimizers: list[RuleOptimizer] = []
        for row, candidate in enumerate(candidates):
            params = self._params[row]
            made = []
            for number, own in enumerate(groups):
                mine = [p for name, p in zip(self._names, params, strict=True) if members.groups[name] == number]
                made.append({"params": mine, **own})
            optimizer = RuleOptimizer(
                candidate.rule, made, clip_norm=candidate.clip_norm, clip_value=candidate.clip_value
            )
            for name, param in zip(self._names, params, strict=True):
                optimizer.state[param] = {key: value[row] for key, value in members.states[name].items()}
            self._optimizers.append(optimizer)

    def step(self, grads: Sequence[Tensor | None], hypers: Hypers, step: int) -> None:
        """Update every member from its part of the stacked gradients."""
        columns = [None if grad is None else grad.unbind(0) for grad in grads]
        table = hypers.moved(step)
        for row, optimizer in enumerate(self._optimizers):
            for param, column in zip(self._params[row], columns, strict=True):
                param.grad = None if column is None else column[row]
            for group, own in zip(optimizer.param_groups, table, strict=True):
                for name, value in own.items():
                    group[name] = (
                        tuple(_at(item, row) for item in value) if isinstance(value, tuple) else _at(value, row)
                    )
            optimizer.apply(overwrite=True)

    def collect(self) -> None:
        """Bring back into the stack what the kernels keep elsewhere: step counters side by side."""
        for row, optimizer in enumerate(self._optimizers):
            for name, param in zip(self._names, self._params[row], strict=True):
                for key, value in self._members.states[name].items():
                    kept = optimizer.state[param][key]
                    if kept.data_ptr() != value[row].data_ptr():
                        value[row].copy_(kept)


def _at(value: Any, row: int) -> Any:
    return value[row] if isinstance(value, list) else value

"""Stacks of different rules whose gradients are computed together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..data import split
from ..engine.stacked_flat import SMALL
from ..loop.modes import train_mode
from .chained import advance_chained, scores_chained
from .initial import Weights
from .lane import Lane, Losses
from .stack import Stack, out_of_memory

__all__ = ["Team", "teams"]


class Team:
    """Stacks at one step, advanced by one forward and one backward pass for all of their members.

    What a rule is shows in the update only; the passes before it do not know it. For small models these are mostly the
    starting of operations, so that four stacks take nearly the time of one. The stacks stay what they are: each updates
    its own members from its rows of the gradients.

    Args:
        stacks: two or more, as :func:`teams` puts them together.
    """

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = list(stacks)

    def __len__(self) -> int:
        return sum(map(len, self.stacks))

    @property
    def step(self) -> int:
        """Updates made."""
        return self.stacks[0].step

    @property
    def numbers(self) -> list[int]:
        """The members' numbers in the race, stack by stack."""
        return [number for stack in self.stacks for number in stack.numbers]

    def advance(self, count: int) -> Losses:
        """Make *count* updates of every member; return the losses before each, **(count, K)**."""
        if self.stacks[0].is_chained:
            return advance_chained(self.stacks, count)
        first = self.stacks[0]
        train_mode(first.entry.module)
        batches = first.batches()
        ends = np.cumsum([len(stack) for stack in self.stacks]).tolist()
        kept: list[Tensor] = []
        for _ in range(count):
            members = [stack.held for stack in self.stacks]
            moments = [stack.moment() for stack in self.stacks]
            held = first.held
            params = {name: torch.cat([m.params[name] for m in members]) for name in held.params}
            fixed = {name: torch.cat([m.fixed[name] for m in members]) for name in held.fixed}
            buffers = {name: torch.cat([m.buffers[name] for m in members]) for name in held.buffers}
            there = [moment.keys for moment in moments if moment.keys is not None]
            keys = torch.cat(there) if there else None
            try:
                grads, mean, after = first.objective.gradients(params, fixed, buffers, split(next(batches)), keys)
            except (RuntimeError, MemoryError) as error:
                if not kept or not out_of_memory(error):
                    raise
                break  # no member has made this update; each stack goes on by itself
            start = 0
            for stack, moment, end in zip(self.stacks, moments, ends, strict=True):
                rows = [None if grad is None else grad[start:end] for grad in grads]
                stack.apply(rows, moment, {name: buffer[start:end] for name, buffer in after.items()})
                stack.step += 1
                start = end
            kept.append(mean)
        return torch.stack(kept).to("cpu", torch.float64).numpy()

    def scores(self) -> Losses:
        """Return each member's loss over the validation data, **(K,)**."""
        found = scores_chained(self.stacks) if self.stacks[0].is_chained else None
        if found is not None:
            return found
        return np.concatenate([stack.scores() for stack in self.stacks])

    def keep(self, rows: Sequence[int]) -> None:
        """Let only the members at *rows* go on; a stack that is empty leaves."""
        chosen = set(rows)
        start = 0
        for stack in self.stacks:
            size = len(stack)
            staying = [row for row in range(size) if start + row in chosen]
            if len(staying) < size:
                stack.keep(staying)
            start += size
        self.stacks = [stack for stack in self.stacks if len(stack)] or self.stacks[:1]

    def weights(self, row: int) -> Weights:
        """Return (parameters, buffers) of the member at *row*, as its stack does."""
        for stack in self.stacks:
            if row < len(stack):
                return stack.weights(row)
            row -= len(stack)
        raise IndexError(row)


def teams(lanes: Sequence[Lane]) -> list[Lane | Team]:
    """Return the lanes with small stacks at one step put together.

    Only stacks that share their batches, and either are advanced by a kernel, which then has more members to share out
    among the threads, or update all parameters side by side and smooth no labels by themselves: the others gain
    nothing, or compute something else before the update.
    """
    found: list[Lane | Team] = []
    joined: dict[int, list[Stack]] = {}
    chained: dict[int, list[Stack]] = {}
    for lane in lanes:
        if isinstance(lane, Stack) and len(lane) and lane.is_chained and not lane.own_rows:
            chained.setdefault(lane.step, []).append(lane)
        elif isinstance(lane, Stack) and len(lane) and lane.is_plain:
            joined.setdefault(lane.step, []).append(lane)
        else:
            found.append(lane)
    found += [Team(stacks) if len(stacks) > 1 else stacks[0] for stacks in chained.values()]
    for stacks in joined.values():
        size = sum(param.numel() for stack in stacks for param in stack.held.params.values())
        found += [Team(stacks)] if len(stacks) > 1 and size <= SMALL else stacks
    return found

"""A race whose members are shared out over processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map

from ..loop import Processes
from .runner import Runner

__all__ = ["meeting", "own_numbers"]


def own_numbers(members: int, processes: Processes | None) -> range:
    """Return the numbers of the members that this process trains: every W-th of them.

    >>> own_numbers(5, None)
    range(0, 5)
    """
    return range(members) if processes is None else range(processes.rank, members, processes.world_size)


def meeting(processes: Processes) -> Callable[[Runner], None]:
    """Return what tells every process of all members, so that all of them decide alike who leaves, and when to stop."""

    def meet(runner: Runner) -> None:
        own = own_numbers(len(runner.members), processes)
        mine: dict[int, dict[str, Any]] = {
            number: {name: getattr(runner.members[number], name) for name in ("step", "ended", "losses", "validations")}
            for number in own
        }
        weights = {number: _on_host(runner.weights[number]) for number in own if number in runner.weights}
        for other, stopped, theirs in processes.gather((mine, runner.stopped, weights)):
            runner.stopped = runner.stopped or stopped
            for number, values in other.items():
                if number not in own:
                    for name, value in values.items():
                        setattr(runner.members[number], name, value)
            runner.weights.update({number: kept for number, kept in theirs.items() if number not in own})

    return meet


def _on_host(weights: Any) -> Any:
    return tree_map(lambda leaf: leaf.cpu() if isinstance(leaf, torch.Tensor) else leaf, weights)

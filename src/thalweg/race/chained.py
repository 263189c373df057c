"""Stacks of small chains advanced by one kernel: many updates of all members in one call."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ..data import split
from ..engine.stacked_chain import REFUSALS, Chain, ChainKernel, member_records, run_chains
from ..engine.stacked_flat import FlatUpdate
from ..engine.stacked_rule import StackedRule
from ..engine.stacked_step import Members
from .candidate import Candidate
from .entry import Entry
from .hypers import Hypers
from .lane import Losses

__all__ = ["advance_chained", "kernel_for", "scores_chained"]

_HELD = 1 << 24  # bytes of batches that are kept for one call


class Chained(Protocol):
    """What of a stack is read here, and moved."""

    step: int
    entry: Entry
    rule: StackedRule
    hypers: Hypers
    candidates: list[Candidate]

    @property
    def members(self) -> Members: ...
    @property
    def kernel(self) -> ChainKernel: ...
    @property
    def own_rows(self) -> bool: ...
    def batches(self) -> Iterator[Any]: ...
    def evaluated(self) -> dict[str, Tensor]: ...


def kernel_for(stack: Chained, chain: Chain) -> ChainKernel | None:
    """Return the kernel for the members of *stack*, whose tensors it takes over; None where there is none."""
    if not FlatUpdate.lies_side_by_side(stack.rule, stack.members):
        return None

    def numbers(values: Sequence[float | None], absent: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([absent if value is None else value for value in values], dtype=np.float64)

    settings = [candidate.setting for candidate in stack.candidates]
    try:
        return ChainKernel(
            chain,
            stack.members,
            stack.rule.rule,
            stack.hypers.sample(),
            stack.hypers.alike(),
            numbers([setting.label_smoothing for setting in settings], chain.smoothing),
            numbers([setting.clip_value for setting in settings], math.inf),
            numbers([setting.clip_norm for setting in settings], math.inf),
        )
    except REFUSALS:
        return None


def advance_chained(stacks: Sequence[Chained], count: int) -> Losses:
    """Make *count* updates of every member of *stacks*, which are at one step and share batches if there are several.

    Returns:
        the losses before each update, **(count, K)**; fewer rows where memory did not suffice for all.
    """
    first = stacks[0]
    chain = first.kernel.chain
    batches = first.batches()
    kept: list[Losses] = []
    made = 0
    while made < count:
        held: list[tuple[Tensor, Tensor, int]] = []
        size = 0
        while len(held) < count - made and (size < _HELD or not held):
            held.append(chain.rows(split(next(batches)), first.own_rows))
            size += held[-1][0].nbytes + held[-1][1].nbytes
        kernels = [stack.kernel for stack in stacks]
        hypers = [
            stack.hypers.columns(stack.step, len(held), kernel.groups, kernel.plan.moving)
            for stack, kernel in zip(stacks, kernels, strict=True)
        ]
        records = np.concatenate([kernel.records(table) for kernel, table in zip(kernels, hypers, strict=True)])
        try:
            losses = run_chains(
                chain,
                held,
                records,
                own=first.own_rows,
                size=kernels[0].size,
                scalars=max(kernel.plan.scalars for kernel in kernels),
                smoothing=np.concatenate([kernel.smoothing for kernel in kernels]),
                value_limits=np.concatenate([kernel.value_limits for kernel in kernels]),
                norm_limits=np.concatenate([kernel.norm_limits for kernel in kernels]),
            )
        except MemoryError:
            if not kept:
                raise
            break  # no member has made these updates; whoever advances the stacks makes smaller ones of them
        kept.append(losses)
        made += len(held)
        for stack in stacks:
            stack.step += len(held)
    return np.concatenate(kept)


def scores_chained(stacks: Sequence[Chained]) -> Losses | None:
    """Return the validation losses of all members, **(K,)**, in one call; None where the kernel cannot compute them."""
    entry = stacks[0].entry
    assert entry.valid is not None
    chain = entry.chain("valid")
    if chain is None:
        return None
    held = [chain.rows(split(batch), False) for batch in entry.valid.batches(0)]
    evaluated = [stack.evaluated() for stack in stacks]  # kept alive while the kernel reads them
    told = [member_records(chain, params) for params in evaluated]
    records = np.concatenate([found for found, _ in told])
    smoothing = np.full(len(records), chain.smoothing)
    sums = run_chains(chain, held, records, own=False, smoothing=smoothing).sum(0)
    found: Losses = sums / sum(rows for _, _, rows in held)
    return found

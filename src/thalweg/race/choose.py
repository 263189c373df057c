"""Who is stacked with whom, and what is computed how: tried out and measured, not assumed."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from ..engine.stacked_flat import SMALL
from ..engine.stacked_forward import ChainForward
from ..optim import Wrapper
from .alone import Alone
from .candidate import Candidate
from .entry import Entry
from .lane import Lane
from .stack import Stack, out_of_memory
from .structure import structure

__all__ = ["WORTH", "Choice", "Stacking", "Stepping", "choose_lanes", "compile_where_it_pays"]

Stacking = Literal["auto", "always", "never"]
Stepping = Literal["auto", "eager", "compiled"]

_TRIED = 3  # updates that are timed, after one that is not
_AT_ONCE = 8  # updates in a timed call of a kernel that makes many
_FEW = 4  # members that are tried first
_CLEARLY = 0.9  # of the time alone is what a stack may take to be taken
_LONG = 400  # updates of a training from which on every way is tried at full size
WORTH = 50  #: Updates of a training below which nothing is measured.
_SHORT = 2000  # updates of a training below which a small chain of layers is stacked without being measured
#: Updates of all members together, those of 10,000 parameters counted twice, from which on one kernel makes them: one
#: takes some 0.03 ms less, and a cold cache costs a second or so, once on a machine (benchmarks/race.py prints both).
_WORTH_A_KERNEL = 30_000
_HOW = {"stacked": "of all at once", "each": "member by member"}
_MANY = 512  # parameters of a member from which one kernel call for it may be faster than its part of a stacked update
#: Seconds that the rest of a lane must take eagerly for ``"auto"`` to compile. With a cold cache compiling takes some
#: fifteen: where the compiled step then turns out to be no faster, a fortieth is lost.
_PAYS = 600.0
_STEADY = 20  # updates that are timed together where a long lane's step is chosen


@dataclass
class Choice:
    """How a race is executed, and why.

    Attributes:
        stacking, stepping: as asked for.
        notes: what was decided, in words.
        seconds: structure of a rule → measured seconds of one update of one member.
        agrees: whether a stack of this model was seen to give what its members give alone.
    """

    stacking: Stacking = "auto"
    stepping: Stepping = "auto"
    notes: list[str] = field(default_factory=list)
    seconds: dict[Any, float] = field(default_factory=dict)
    agrees: bool = False

    def note(self, text: str) -> None:
        """Keep a decision, once."""
        if text not in self.notes:
            self.notes.append(text)


def choose_lanes(
    entry: Entry, candidates: Sequence[Candidate], numbers: Sequence[int], total: int, choice: Choice
) -> list[Lane]:
    """Return the lanes for these candidates.

    Candidates whose rules have one structure share a stack, as far as memory allows. Where there is enough to do, a few
    updates of copies are timed: stacked whole, stacked in quarters, with one kernel call per member, and one member
    alone; the fastest per member is taken.

    Raises:
        ValueError: stacking was asked for where it cannot be.
    """
    reason = _refusal(entry)
    kinds: dict[Any, list[int]] = {}
    for place, candidate in enumerate(candidates):
        kinds.setdefault((structure(candidate.rule), candidate.order is None), []).append(place)
    lanes: list[Lane] = []
    # As for a rule's own kernel (engine/choice.py): by the work alone, never by what is on disk.
    size = sum(param.numel() for param in entry.module.parameters())
    work = total * len(candidates) * (1 + size / 10_000)
    kernel = choice.stepping == "auto" and total >= WORTH and work >= _WORTH_A_KERNEL
    for key, places in kinds.items():
        mine = [candidates[place] for place in places]
        named = [numbers[place] for place in places]
        lanes += _lanes_of_kind(entry, mine, named, total, choice, reason, key, kernel)
    return lanes


def _lanes_of_kind(
    entry: Entry,
    candidates: list[Candidate],
    numbers: list[int],
    total: int,
    choice: Choice,
    reason: str,
    key: Any,
    kernel: bool,
) -> list[Lane]:
    def alone(why: str) -> list[Lane]:
        choice.note(f"one after the other: {why}")
        return [Alone(entry, candidates, numbers, total, why)]

    if choice.stacking == "never":
        return alone("asked for")
    if not reason and not (choice.agrees and _is_our_own(entry, candidates[0])):
        reason = _disagreement(entry, candidates, numbers, total)
        choice.agrees = not reason
    if reason:
        if choice.stacking == "always":
            raise ValueError(f"race: stacking='always' was asked for, but {reason}; use stacking='auto'.")
        return alone(reason)
    most = _most(entry, candidates[0])
    size = min(len(candidates), most)
    update = "stacked"
    known = choice.stacking == "auto" and choice.stepping != "compiled" and len(candidates) > 1
    unmeasured = total < WORTH or (known and total < _SHORT and _is_small_chain(entry, len(candidates)))
    if not unmeasured:
        must = choice.stacking == "always" or choice.stepping == "compiled"
        size, update, seconds, single = _measured(entry, candidates, numbers, total, size, must, kernel)
        choice.seconds[key] = min(seconds, single)
        if single < seconds:
            return alone(f"stacked, this model is no faster here (measured; alone {1e3 * single:.3g} ms per update)")
    elif len(candidates) == 1 and choice.stacking == "auto":
        return alone("a single member of its kind")
    found: list[Lane] = []
    for first in range(0, len(candidates), size):
        here = slice(first, first + size)
        stack = Stack(entry, candidates[here], numbers[here], total)
        stack.update = "kernel" if kernel and update == "stacked" and unmeasured and stack.has_kernel else update
        found.append(stack)
    assert isinstance(stack, Stack)
    chunks = f", {len(found)} chunks of up to {size}" if len(found) > 1 else ""
    choice.note(
        f"one kernel for passes and updates{chunks}"
        if stack.update == "kernel"
        else f"{stack.forward.name}{chunks}; update {_HOW[stack.update]}"
    )
    return found


def _is_our_own(entry: Entry, candidate: Candidate) -> bool:
    """Whether layers and rule are of those whose stacks are tested against members alone: one look is enough."""
    rule: Any = candidate.rule
    while isinstance(rule, Wrapper):
        rule = rule.rule
    return isinstance(entry.forward, ChainForward) and type(rule).__module__.startswith("thalweg.")


def _is_small_chain(entry: Entry, count: int) -> bool:
    """Whether members are so small, and of such layers, that a stack of them is several times faster anywhere."""
    size = count * sum(param.numel() for param in entry.module.parameters())
    return size <= SMALL and isinstance(entry.forward, ChainForward)


def _refusal(entry: Entry) -> str:
    """Return why nothing of this model can be stacked, or an empty string."""
    if entry.precision.dtype is not None:
        return f"{entry.precision.name} runs member by member"
    if entry.draws:
        return "the model draws numbers in a way that no counter can give back (a kernel's own dropout, torch.rand)"
    dtypes = {param.dtype for param in entry.module.parameters()}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        return f"its parameters are {', '.join(sorted(str(d).removeprefix('torch.') for d in dtypes))}"
    return ""


def _disagreement(entry: Entry, candidates: Sequence[Candidate], numbers: Sequence[int], total: int) -> str:
    """Return why a stack of these cannot be, found by one update stacked and alone; or an empty string."""
    two = [candidates[0], candidates[-1]]
    try:
        stack = Stack(entry, two, [0, 1], total)
        stacked = stack.advance(1)
    except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError) as error:
        if out_of_memory(error):
            return "two members do not fit into memory together"
        if isinstance(error, ValueError) and str(error).startswith("race"):
            raise
        return "this model cannot be stacked: " + (str(error).strip() or type(error).__name__).splitlines()[0]
    single = Alone(entry, two[:1], [0], total, "")
    losses = single.advance(1)
    exact = next(entry.module.parameters()).dtype == torch.float64
    tolerance = 1e-9 if exact else 1e-3
    after, alone = stack.weights(0)[0], single.weights(0)[0]
    same = np.allclose(stacked[:, :1], losses, rtol=tolerance, atol=tolerance, equal_nan=True)
    scale = max(1.0, *(float(tensor.abs().max()) for tensor in alone.values() if tensor.numel()))
    for name, tensor in alone.items():
        same = same and torch.allclose(after[name], tensor, rtol=0, atol=10 * tolerance * scale, equal_nan=True)
    return "" if same else "stacked, this model gives other values than alone"


def _measured(
    entry: Entry,
    candidates: list[Candidate],
    numbers: list[int],
    total: int,
    size: int,
    must: bool,
    kernel: bool,
) -> tuple[int, str, float, float]:
    """Return (members per stack, update, seconds of one update of one member, the same alone), tried on copies."""
    size_of_one = sum(param.numel() for param in entry.module.parameters())
    kernels = entry.device.type == "cpu" and size_of_one >= _MANY
    updates = (*(("kernel",) if kernel else ()), "stacked", *(("each",) if kernels else ()))
    if must:
        return (*_best_of(entry, candidates[:size], numbers[:size], total, updates), math.inf)
    single = _seconds(Alone(entry, candidates[:1], numbers[:1], total, ""))
    few = min(size, _FEW)
    best = _best_of(entry, candidates[:few], numbers[:few], total, updates)
    if best[2] > _CLEARLY * single:  # a stack has to be clearly faster; it also takes the memory of all
        return (*best[:2], math.inf if few > 1 else best[2], single)
    if size > few:
        # Trying out a large stack costs as many updates as it has members; a short race tries it in one way only: the
        # one that walks the memory once where there is much of it, whatever a few members in a cache have shown.
        likely = "each" if kernels and size * size_of_one > SMALL and best[1] == "stacked" else best[1]
        tried = updates if total >= _LONG else (likely,)
        best = min(best, _best_of(entry, candidates[:size], numbers[:size], total, tried), key=lambda way: way[2])
    return (*best, single)


def _best_of(
    entry: Entry, candidates: list[Candidate], numbers: list[int], total: int, updates: Sequence[str]
) -> tuple[int, str, float]:
    """Return (members, update, seconds of one update of one member) of the fastest update for this many."""
    stack = Stack(entry, candidates, numbers, total)
    found = []
    for update in updates:
        if update == "kernel" and not stack.has_kernel:
            continue
        stack.update = update
        found.append((len(candidates), update, _seconds(stack) / len(candidates)))
    return min(found, key=lambda way: way[2])


def _seconds(lane: Lane) -> float:
    """Return the seconds of one update of all members: the least of three."""
    # A kernel is called once for many updates, and what a call costs is shared by them.
    count = _AT_ONCE if isinstance(lane, Stack) and lane.is_chained else 1
    lane.advance(1)
    taken = []
    for _ in range(_TRIED):
        begun = time.perf_counter()
        lane.advance(count)
        taken.append((time.perf_counter() - begun) / count)
    return min(taken)


def _steady_seconds(one: Lane, other: Lane, count: int) -> tuple[float, float]:
    """Return the seconds of an update of each: the median of three times *count* updates, in turns."""
    taken: tuple[list[float], list[float]] = ([], [])
    for lane in (one, other):
        lane.advance(1)
    for _ in range(_TRIED):
        for lane, times in zip((one, other), taken, strict=True):
            begun = time.perf_counter()
            lane.advance(count)
            times.append((time.perf_counter() - begun) / count)
    return statistics.median(taken[0]), statistics.median(taken[1])


def compile_where_it_pays(lane: Lane, steps: int, choice: Choice, seconds: float | None) -> None:
    """Have a stack's step compiled where it was asked for, or where the *steps* ahead are long enough to pay."""
    if not isinstance(lane, Stack) or choice.stepping == "eager" or lane.compiled is not None:
        return
    ahead = 0.0 if seconds is None else seconds * len(lane) * steps
    if choice.stepping == "auto" and (ahead < _PAYS or lane.compile_failure):
        return
    eager = lane.part(range(len(lane))) if choice.stepping == "auto" else None
    lane.compile()
    if lane.compiled is None:
        if choice.stepping == "compiled":
            raise ValueError(f"race: step='compiled' was asked for, but {lane.compile_failure}; use step='auto'.")
        choice.note(f"not compiled: {lane.compile_failure}")
        return
    if eager is not None:
        kept, step = lane.copy(), lane.step
        compiled, eagerly = _steady_seconds(lane, eager, min(_STEADY, max(1, steps // 8)))
        lane.rewind(kept, step)
        if compiled > _CLEARLY * eagerly:
            lane.compiled = None
            choice.note("compiled, the step was no faster, and runs eagerly")
            return
    choice.note("the whole step compiled")


def _most(entry: Entry, candidate: Candidate) -> int:
    """Return how many members may be stacked within a quarter of the free memory."""
    size = sum(param.numel() * param.element_size() for param in entry.module.parameters())
    states = len(candidate.rule.init(torch.empty(1, 1, device="meta")))
    each = size * (6 + 2 * states)  # parameters, gradients, states, and what an update makes beside them
    if entry.device.type == "cuda":
        free = torch.cuda.mem_get_info(entry.device)[0]
    else:
        try:
            free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            free = 1 << 32
    return max(1, free // 4 // max(1, each))

"""Members of one structure on a leading dimension, advanced by one computation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..data import split
from ..engine.counter_dropout import dropout_keys
from ..engine.flat_graph import CannotCompile
from ..engine.stacked_chain import ChainKernel
from ..engine.stacked_flat import FlatUpdate
from ..engine.stacked_forward import StackedForward, stacked_forward
from ..engine.stacked_objective import StackedObjective
from ..engine.stacked_rule import StackedRule
from ..engine.stacked_step import CompiledStack, Members, Moment, eager_step, updated
from ..loop.modes import train_mode
from .candidate import Candidate
from .chained import advance_chained, kernel_for, scores_chained
from .each import EachUpdate
from .entry import Entry
from .hypers import Hypers
from .initial import Weights
from .lane import Lane, Losses
from .reestimate import reestimated_scores
from .scoring import stacked_scores

__all__ = ["Stack", "out_of_memory"]

_KEYS = 64  # updates for which dropout keys are made at once


class Stack(Lane):
    """K members stacked: batched gradients, then one stacked update or one kernel call per member.

    Attributes:
        update: ``"stacked"``: one computation with **(K, 1, …)** hyperparameters; ``"each"``: torch's kernels, member
            by member, on views of the stack; ``"kernel"``: passes and update of all members in one call, where
            :attr:`has_kernel`. All compute the same.
        most: members that it began with; stacks are joined up to that.
        compiled: the whole step as one call, or None.
    """

    kind: ClassVar[str] = "stack"

    def __init__(
        self,
        entry: Entry,
        candidates: Sequence[Candidate],
        numbers: Sequence[int],
        total: int,
        *,
        members: Members | None = None,
    ) -> None:
        super().__init__(entry, candidates, numbers, total)
        self.rule = StackedRule(candidates[0].rule)
        own, place = entry.groups(candidates[0].rule)
        self._own = own
        self.forward: StackedForward = entry.forward
        self.update = "stacked"
        self.most = len(numbers)
        self.compiled: CompiledStack | None = None
        self.compile_failure = ""
        self._members = self._begin(place) if members is None else members
        self._each: EachUpdate | None = None
        self._flat: FlatUpdate | None = None
        self._kernel: ChainKernel | None = None
        self._moments()

    @property
    def members(self) -> Members:
        """Parameters, buffers and states of all members, up to date."""
        if self._each is not None:
            self._each.collect()
        if self._flat is not None:
            self._flat.collect()
        return self._members

    @members.setter
    def members(self, members: Members) -> None:
        self._members, self._each, self._flat, self._kernel = members, None, None, None

    def _begin(self, place: dict[str, int]) -> Members:
        drawn = [self.entry.initial(candidate.seed) for candidate in self.candidates]
        trains = {name for name, param in self.entry.module.named_parameters() if param.requires_grad}

        def stacked(which: int, name: str) -> Tensor:
            return torch.stack([weights[which][name] for weights in drawn])

        params = {name: stacked(0, name) for name in drawn[0][0] if name in trains}
        fixed = {name: stacked(0, name) for name in drawn[0][0] if name not in trains}
        buffers = {name: stacked(1, name) for name in drawn[0][1]}
        states = {name: self.rule.init(param) for name, param in params.items()}
        return Members(params, fixed, buffers, states, place)

    def _moments(self) -> None:
        """Make what follows from who the members are."""
        settings = [candidate.setting for candidate in self.candidates]
        param = next(iter(self.members.params.values()))
        clock = (self.total, self.entry.per_epoch)
        self.hypers = Hypers(settings, self._own, *clock, param.dtype, param.device)
        self._norm = _limits([s.clip_norm for s in settings], param)
        self._value = _limits([s.clip_value for s in settings], param)
        plain = getattr(self.entry.loss, "label_smoothing", None)
        asked = [plain if s.label_smoothing is None else s.label_smoothing for s in settings]
        smooths = any(share != plain for share in asked)
        self._smoothing = torch.tensor(asked, dtype=param.dtype, device=param.device) if smooths else None
        self.objective = StackedObjective(self.forward, self.entry.loss, self.entry.penalty, smooths=smooths)
        orders = [candidate.order for candidate in self.candidates]
        self._orders = None if len(set(orders)) == 1 else orders
        self._shared = orders[0]
        self._keys: tuple[int, Tensor] | None = None
        self._each = self._flat = self._kernel = None
        self._is_small = FlatUpdate.serves(self.rule, self._members)

    def moment(self) -> Moment:
        """Return what the next update needs."""
        return Moment(
            self.hypers.at(self.step), self._norm, self._value, self._smoothing, self._next_keys(), self.own_rows
        )

    @property
    def own_rows(self) -> bool:
        """Whether each member has a batch of its own."""
        return self._orders is not None

    def _next_keys(self) -> Tensor | None:
        if not self.entry.layers:
            return None
        if self._keys is None or not self._keys[0] <= self.step < self._keys[0] + _KEYS:
            steps = np.arange(self.step, self.step + _KEYS)
            table = dropout_keys(self.dropout_seeds(), steps, self.entry.layers)
            self._keys = self.step, torch.from_numpy(table).to(self.entry.device)
        return self._keys[1][self.step - self._keys[0]]

    def batches(self) -> Iterator[Any]:
        """Return the batches from the present step on, without end."""
        per_epoch = self.entry.per_epoch
        epoch, start = divmod(self.step, per_epoch)
        while True:
            if self._orders is None:
                yield from self.entry.source_of(self._shared).batches(epoch, start)
            else:
                each = [self.entry.source_of(order).batches(epoch, start) for order in self._orders]
                for rows in zip(*each, strict=True):
                    yield tree_map(_stacked, *rows)
            epoch, start = epoch + 1, 0

    @property
    def has_kernel(self) -> bool:
        """Whether many updates of all members can be one call, for which the members are laid out anew."""
        if self._kernel is None:
            chain = self.entry.chain("train")
            if chain is not None:
                self.members = self.members
                self._kernel = kernel_for(self, chain)
        return self._kernel is not None

    @property
    def kernel(self) -> ChainKernel:
        """The kernel of a stack that has one."""
        if not self.has_kernel:
            raise ValueError("race: this stack cannot be advanced by one kernel; advance it by another update.")
        assert self._kernel is not None
        return self._kernel

    @property
    def is_chained(self) -> bool:
        """Whether it is advanced by its kernel."""
        if self.update == "kernel" and not self.has_kernel:  # a state from where there was a compiler
            self.update = "stacked"
        return self.update == "kernel" and self.compiled is None

    def advance(self, count: int) -> Losses:
        if self.is_chained:
            return advance_chained([self], count)
        train_mode(self.entry.module)
        kept: list[Tensor] = []
        batches = self.batches()
        for _ in range(count):
            try:
                kept.append(self._one(next(batches), self.moment()))
            except (RuntimeError, MemoryError) as error:
                if not kept or not out_of_memory(error):
                    raise
                break  # no member has made this update; whoever advances the stack makes smaller ones of it
            self.step += 1
        return torch.stack(kept).to("cpu", torch.float64).numpy()

    def _one(self, batch: Any, moment: Moment) -> Tensor:
        if self.compiled is not None and self.compiled.fits(batch, moment):
            return self.compiled(batch, moment)
        if self.update == "each":
            return self._kernels(batch, moment)
        if self.compiled is None and self._is_small:
            members = self._members
            grads, mean, after = self.objective.gradients(
                members.params,
                members.fixed,
                members.buffers,
                split(batch),
                moment.keys,
                moment.smoothing,
                own=moment.own,
            )
            self.apply(grads, moment, after)
            return mean
        mean = eager_step(self.objective, self.rule, self._members, batch, moment)
        if self.compiled is not None:
            self._write_back()
        return mean

    def _kernels(self, batch: Any, moment: Moment) -> Tensor:
        if self._flat is not None:
            self.members = self.members
        members = self._members
        if self._each is None:
            self._each = EachUpdate(self.candidates, members, self._own)
        grads, mean, after = self.objective.gradients(
            members.params, members.fixed, members.buffers, split(batch), moment.keys, moment.smoothing, own=moment.own
        )
        self._each.step(grads, self.hypers, self.step)
        members.buffers.update(after)
        return mean

    @property
    def held(self) -> Members:
        """Parameters and buffers of all members; states that are not up to date."""
        return self._members

    @property
    def is_plain(self) -> bool:
        """Whether an update is gradients from shared batches and then :meth:`apply`."""
        eager = self.compiled is None and self.update == "stacked"
        return eager and self._is_small and self._orders is None and self._smoothing is None

    def apply(self, grads: Sequence[Tensor | None], moment: Moment, buffers: dict[str, Tensor]) -> None:
        """Update all parameters side by side from their gradients, and take over the buffers after the pass."""
        if self._each is not None:
            self.members = self.members
        members = self._members
        there = [grad for grad in grads if grad is not None]
        with torch.no_grad():
            if len(there) == len(grads) and self._is_small:
                self._flat = FlatUpdate(self.rule, members, self.hypers.alike()) if self._flat is None else self._flat
                self._flat.step(there, moment)
            else:  # a parameter that this batch does not meet keeps its state, and its step counter
                named = {name: grad for name, grad in zip(members.params, grads, strict=True) if grad is not None}
                self.members = members = self.members
                self._is_small = False
                params, states = updated(self.rule, members, named, moment)
                members.params.update(params)
                members.states.update(states)
        members.buffers.update(buffers)

    def compile(self) -> None:
        """Have the whole step compiled for the batches to come, or say in :attr:`compile_failure` why it cannot be."""
        batch = next(self.batches())
        forward = stacked_forward(
            self.entry.module, split(self.entry.source.first()), self.entry.layers, remember=False
        )
        train_mode(self.entry.module)
        objective = StackedObjective(forward, self.entry.loss, self.entry.penalty, smooths=self._smoothing is not None)
        try:
            self.compiled = CompiledStack(objective, self.rule, self._settled(), batch, self.moment())
        except CannotCompile as error:
            self.compile_failure = str(error)

    def _settled(self) -> Members:
        """Return the members in tensors of their own, which an eager step between compiled ones writes back into."""
        self.members = self.members.take(torch.arange(len(self)))
        now = self.members
        states = {name: dict(state) for name, state in now.states.items()}
        self._home = Members(dict(now.params), now.fixed, dict(now.buffers), states, now.groups)
        return self._home

    def _write_back(self) -> None:
        home, now = self._home, self.members
        for name, tensor in home.params.items():
            tensor.copy_(now.params[name])
            for key, value in home.states[name].items():
                value.copy_(now.states[name][key])
        for name, tensor in home.buffers.items():
            tensor.copy_(now.buffers[name])
        now.params, now.buffers = dict(home.params), dict(home.buffers)
        now.states = {name: dict(state) for name, state in home.states.items()}

    def copy(self) -> Members:
        """Return copies of the members."""
        return self.members.take(torch.arange(len(self)))

    def rewind(self, members: Members, step: int) -> None:
        """Go on from *members*, as :meth:`copy` gave them, and *step*."""
        self.members, self.step = members, step
        self._each = None
        if self.compiled is not None:
            self._write_back()

    def evaluated(self) -> dict[str, Tensor]:
        """Return the parameters that evaluation should use, **(K, …)** by name."""
        members = self.members
        if not self.rule.rule.averages:
            return {**members.params, **members.fixed}
        hypers = self.hypers.at(max(0, self.step - 1))
        found = {
            name: self.rule.evaluation(param, members.states[name], hypers[members.groups[name]])
            for name, param in members.params.items()
        }
        return {**found, **members.fixed}

    def scores(self) -> Losses:
        entry = self.entry
        assert entry.valid is not None
        if self.is_chained:
            found = scores_chained([self])
            if found is not None:
                return found
        if self.rule.rule.averages and self.members.buffers:
            return reestimated_scores(entry, [self.weights(row) for row in range(len(self))])
        return stacked_scores(entry, self.forward, self.evaluated(), self.members.buffers)

    def keep(self, rows: Sequence[int]) -> None:
        if not rows:
            self._keep_numbers(rows)
            return
        self.members = self.members.take(torch.as_tensor(list(rows), dtype=torch.int64))
        self.compiled = None
        self._keep_numbers(rows)
        self._moments()

    def join(self, others: Sequence[Stack]) -> None:
        """Take in the members of other stacks of the same structure and step."""
        for other in others:
            self.candidates += other.candidates
            self.numbers += other.numbers
        self.members = Members.joined([self.members, *(other.members for other in others)])
        self.compiled = None
        self._moments()

    def halves(self) -> tuple[Stack, Stack]:
        """Return the two halves as stacks of their own."""
        middle = math.ceil(len(self) / 2)
        return self.part(range(middle)), self.part(range(middle, len(self)))

    def part(self, rows: Sequence[int]) -> Stack:
        """Return a stack with copies of some of the members."""
        chosen = list(rows)
        part = Stack(
            self.entry,
            [self.candidates[row] for row in chosen],
            [self.numbers[row] for row in chosen],
            self.total,
            members=self.members.take(torch.as_tensor(chosen, dtype=torch.int64)),
        )
        part.step, part.update = self.step, self.update
        return part

    def weights(self, row: int) -> Weights:
        params = {name: tensor[row].clone() for name, tensor in self.evaluated().items()}
        return params, {name: tensor[row].clone() for name, tensor in self.members.buffers.items()}

    def state(self) -> dict[str, Any]:
        members = self.copy()  # what is written must not be parts of larger tensors
        held = {"params": members.params, "fixed": members.fixed, "buffers": members.buffers, "states": members.states}
        return {"step": self.step, "update": self.update, **held}

    def load_state(self, state: dict[str, Any]) -> None:
        groups, device = self.members.groups, self.entry.device
        params, fixed, buffers, states = (
            tree_map(lambda tensor: tensor.to(device), state[name]) for name in ("params", "fixed", "buffers", "states")
        )
        self.members = Members(params, fixed, buffers, states, groups)
        self.step, self.update = int(state["step"]), str(state["update"])
        self._each = None


def out_of_memory(error: BaseException) -> bool:
    """Whether *error* says that there was no memory left."""
    said = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in said


def _stacked(*rows: Any) -> Any:
    return torch.stack(rows) if isinstance(rows[0], Tensor) else rows[0]


def _limits(given: Sequence[float | None], like: Tensor) -> Tensor | None:
    if all(limit is None for limit in given):
        return None
    return torch.tensor([math.inf if v is None else v for v in given], dtype=like.dtype, device=like.device)

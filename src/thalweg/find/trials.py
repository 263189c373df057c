"""Short trainings at given rates, one after the other or stacked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from ..data import Source, split
from ..engine import RuleOptimizer
from ..engine.stacked_forward import ChainForward, stacked_forward
from ..engine.stacked_rule import rate_ratio
from ..loop import evaluate
from ..optim import Rule
from ..race.candidate import Candidate
from ..race.choose import WORTH, Choice, choose_lanes
from ..race.entry import Entry, look_for_draws
from ..race.stack import Stack
from ..schedule import WarmupStableDecay
from .parts import Parts, Updates, rate_ratios
from .trace import Snapshot

__all__ = ["OneByOne", "Stacked", "Trainer", "Trial", "trainer_of"]

_OTHER_EPOCH = 1_000_003  # training batches that decide come from another order than those that train
_LOOK = 8  # updates between two looks at whether a training is lost


@dataclass(frozen=True)
class Trial:
    """A rate's short training: the loss on the deciding data afterwards (infinite: diverged), and its updates."""

    lr: float
    loss: float
    steps: int


def held(steps: int) -> WarmupStableDecay:
    """Return a short training's schedule: the rate, held for two thirds of the *steps*, then falling to zero.

    >>> held(6).value(np.arange(6), base=1.0)
    array([1. , 1. , 1. , 1. , 1. , 0.5])
    """
    decay = max(1, round(steps / 3))
    return WarmupStableDecay(0, decay, stable=steps - decay, shape="linear")


class Trainer(ABC):
    """Short trainings under a held rate, each from the snapshot and through the same batches.

    Args:
        parts: of the training.
        snapshot: where each training begins.
        deciding: batches whose loss decides.
    """

    def __init__(self, parts: Parts, snapshot: Snapshot, deciding: Source) -> None:
        self.parts, self.snapshot, self.deciding = parts, snapshot, deciding

    def before(self) -> float:
        """Return the loss before any training."""
        self.snapshot.rewind()
        return self._loss()

    @abstractmethod
    def train(self, rates: Sequence[float], steps: int) -> list[Trial]:
        """Return the trials of trainings of *steps* updates at each of *rates*."""

    def _loss(self) -> float:
        parts = self.parts
        objective, processes = parts.objective, parts.processes
        if parts.valid is not None:
            objective, processes = parts.valid_objective or objective, parts.valid_processes
        with parts.evaluating():
            return evaluate(objective, self.deciding, {}, parts.precision, processes=processes)["loss"]


class OneByOne(Trainer):
    """One training after the other, by the learner's own step."""

    def train(self, rates: Sequence[float], steps: int) -> list[Trial]:
        return [self._one(rate, held(steps).value(np.arange(steps), rate).tolist()) for rate in rates]

    def _one(self, rate: float, curve: Sequence[float]) -> Trial:
        self.snapshot.rewind()
        updates = Updates(self.parts)
        worst: torch.Tensor | None = None
        for made, value in enumerate(curve, start=1):
            loss = updates.at(float(value))
            worst = loss if worst is None else torch.maximum(worst, loss)  # NaN stays
            # Looked at now and then: a training that is lost should not go on.
            if made % _LOOK == 0 and not math.isfinite(float(worst)):
                return Trial(rate, math.inf, made)
        updates.end()
        after = self._loss()
        return Trial(rate, after if math.isfinite(after) else math.inf, len(curve))


class Stacked(Trainer):
    """The trainings as members of one stack, as a race has them; one after the other where that is faster."""

    def __init__(self, parts: Parts, snapshot: Snapshot, deciding: Source, entry: Entry) -> None:
        super().__init__(parts, snapshot, deciding)
        self.entry = entry
        self._alone = OneByOne(parts, snapshot, deciding)
        forward = stacked_forward(parts.module, split(parts.source.first()), 0)
        self._chain = isinstance(forward, ChainForward)

    def train(self, rates: Sequence[float], steps: int) -> list[Trial]:
        optimizer = self.parts.optimizer
        assert isinstance(optimizer, RuleOptimizer)
        # Batched products are known to be faster; anything else is measured, which takes some updates to pay.
        if len(rates) == 1 or not (self._chain or steps >= WORTH):
            return self._alone.train(rates, steps)
        self.snapshot.rewind()
        candidates = [
            Candidate(
                optimizer.rule.with_hyper({"lr": rate}),
                held(steps),
                clip_norm=optimizer.clip_norm,
                clip_value=optimizer.clip_value,
            )
            for rate in rates
        ]
        lane = choose_lanes(self.entry, candidates, range(len(rates)), steps, Choice())[0]
        if not isinstance(lane, Stack) or len(lane) < len(rates):
            return self._alone.train(rates, steps)
        self.snapshot.rewind()
        lost: dict[int, int] = {}
        while lane.step < steps and len(lane):
            losses = lane.advance(min(_LOOK, steps - lane.step))
            gone = {row for row in range(len(lane)) if not np.isfinite(losses[:, row]).all()}
            lost |= {lane.numbers[row]: lane.step for row in gone}
            if gone:
                lane.keep([row for row in range(len(lane)) if row not in gone])
        after = dict(zip(lane.numbers, lane.scores().tolist(), strict=True)) if len(lane) else {}
        return [
            Trial(rate, math.inf, lost[number])
            if number in lost
            else Trial(rate, after[number] if math.isfinite(after[number]) else math.inf, steps)
            for number, rate in enumerate(rates)
        ]


def trainer_of(parts: Parts, snapshot: Snapshot, most: int) -> Trainer:
    """Return what trains: stacked where that computes the same as one after the other.

    It does for our own rules at their beginning, with one rate for all parameters and batches of their own for every
    update; and where nothing is drawn, because a race's dropout counts where a training draws.

    Args:
        parts: of the training.
        snapshot: where each training begins.
        most: deciding batches at most.
    """
    snapshot.rewind()  # what a sweep has left in the rule's state is not where the trainings begin
    given = parts.valid is not None
    deciding = _Some(parts.valid if parts.valid is not None else parts.source, 0 if given else _OTHER_EPOCH, most=most)
    entry = _entry_of(parts, deciding)
    return OneByOne(parts, snapshot, deciding) if entry is None else Stacked(parts, snapshot, deciding, entry)


class _Entry(Entry):
    """What a race trains, with the groups of an optimizer that is there already."""

    optimizer: RuleOptimizer

    def groups(self, rule: Rule) -> tuple[list[dict[str, Any]], dict[str, int]]:
        numbers = {param: n for n, group in enumerate(self.optimizer.param_groups) for param in group["params"]}
        names = [name for name in rule.hyper() if name != "lr"]
        own = [{name: group[name] for name in names if name in group} for group in self.optimizer.param_groups]
        params = self.module.named_parameters()
        return own, {name: numbers[param] for name, param in params if param in numbers}


def _entry_of(parts: Parts, deciding: Source) -> Entry | None:
    """Return what a stack of the parts' trainings is made of, or None where it would compute something else."""
    optimizer = parts.optimizer
    if not isinstance(optimizer, RuleOptimizer) or parts.accumulate > 1 or parts.source.steps_per_epoch is None:
        return None
    if parts.processes is not None or parts.valid_processes is not None:
        return None
    rule, groups = optimizer.rule, optimizer.param_groups
    if len(set(rate_ratios(optimizer))) > 1 or rate_ratio(rule) is not None or rule.averages:
        return None
    if any(optimizer.state.values()) or optimizer.rounder is not None or any(g.get("update_stats") for g in groups):
        return None
    if parts.objective.head is not None or parts.objective.model is not parts.module:
        return None
    placed = {param for group in groups for param in group["params"]}
    if any(param.requires_grad and param not in placed for param in parts.module.parameters()):
        return None
    entry = _Entry(
        module=parts.module,
        factory=None,
        loss=parts.objective.loss,
        valid_loss=(parts.valid_objective or parts.objective).loss,
        penalty=parts.objective.penalty_term,
        source=parts.source,
        valid=deciding,
        precision=parts.precision,
        seed=0,
        no_decay=None,
        overrides=None,
        own_source=_no_order,
    )
    entry.optimizer = optimizer
    look_for_draws(entry)
    return None if entry.layers or entry.draws else entry


def _no_order(order: int) -> Source:
    raise AssertionError(f"trials share their batches, and order {order} was asked for")


class _Some(Source):
    """The first batches of an epoch of a source."""

    def __init__(self, source: Source, epoch: int, most: int) -> None:
        self.source, self.epoch, self.most = source, epoch, most
        self.n, self.batch_size, self.device = source.n, source.batch_size, source.device
        known = source.steps_per_epoch
        self.steps_per_epoch = most if known is None else min(most, known)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        return islice(self.source.batches(self.epoch), start, self.most)

    def first(self) -> Any:
        return self.source.first()

    def state(self) -> dict[str, Any]:
        return self.source.state()

    def load_state(self, state: dict[str, Any]) -> None:
        self.source.load_state(state)

    def check(self) -> None:
        self.source.check()

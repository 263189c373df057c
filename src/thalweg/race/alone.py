"""Members that cannot be stacked, or are faster alone, one after the other through the same interface."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..engine import RuleOptimizer
from ..engine.counter_dropout import CounterDropout, dropout_keys
from ..engine.stacked_objective import smoothed
from ..loop import EagerStep, Precision, Rates, evaluate
from ..loop.averaging import estimated, holding
from ..loop.modes import train_mode
from ..objective import Objective
from ..schedule import resolve
from .candidate import Candidate
from .entry import Entry
from .initial import Weights
from .lane import Lane, Losses

__all__ = ["Alone"]


class _Member:
    """One training: a model of its own, its optimizer, its rates, its generator."""

    def __init__(self, entry: Entry, candidate: Candidate, total: int) -> None:
        self.entry, self.candidate = entry, candidate
        self.module: nn.Module = copy.deepcopy(entry.module)
        params, buffers = entry.initial(candidate.seed)
        _fill(self.module, params, buffers)
        setting = candidate.setting
        own, place = entry.groups(setting.rule)
        named = dict(self.module.named_parameters())
        groups = [
            {"params": [named[name] for name in named if place.get(name) == number], **values}
            for number, values in enumerate(own)
        ]
        self.optimizer = RuleOptimizer(setting.rule, groups, clip_norm=setting.clip_norm, clip_value=setting.clip_value)
        loss = entry.loss
        if setting.label_smoothing is not None:
            loss = smoothed(loss, setting.label_smoothing)
        self.objective = Objective(self.module, loss, entry.penalty)
        self.precision = Precision(entry.precision.name, entry.device)
        self.stepper = EagerStep(self.objective, self.optimizer, self.precision, record_norm=False)
        held = resolve(dict(setting.schedules), total, entry.per_epoch, "race: schedule") if setting.schedules else {}
        self.rates = Rates(self.optimizer, held)
        seed = entry.seed if candidate.seed is None else candidate.seed
        self.generator = _generator_state(seed, entry.device)

    def advance(self, step: int, count: int) -> Tensor:
        """Make *count* updates from number *step* on; return the losses before each, **(count,)**, on the device."""
        entry = self.entry
        train_mode(self.module, self.optimizer)
        mode = CounterDropout() if entry.layers else None
        keys: Tensor | None = None
        if mode is not None:
            seed = entry.seed if self.candidate.seed is None else self.candidate.seed
            table = dropout_keys([seed], np.arange(step, step + count), entry.layers)
            keys = torch.from_numpy(table[:, 0]).to(entry.device)
        kept: list[Tensor] = []
        batches = self._batches(step)
        with _generator(self), mode if mode is not None else nullcontext():
            for made in range(count):
                if self.rates.active:
                    self.rates.apply(step + made)
                if mode is not None and keys is not None:
                    mode.begin(keys[made])
                self.stepper.micro(next(batches))
                total, weight = self.stepper.loss, self.stepper.weight
                assert total is not None
                self.stepper.update()
                kept.append(_mean(total, weight, self.stepper.penalty))
                self.stepper.clear()
        return torch.stack(kept)

    def _batches(self, step: int) -> Iterator[Any]:
        epoch, start = divmod(step, self.entry.per_epoch)
        source = self.entry.source_of(self.candidate.order)
        while True:
            yield from source.batches(epoch, start)
            epoch, start = epoch + 1, 0

    def score(self) -> float:
        """Return the validation loss, of the weights that evaluation should use."""
        entry = self.entry
        assert entry.valid is not None
        objective = Objective(self.module, entry.valid_loss, entry.penalty)
        if not self.candidate.rule.averages:
            return evaluate(objective, entry.valid, {}, self.precision)["loss"]
        with self.optimizer.evaluating(), holding(self.module, estimated(self.module, entry.source)):
            return evaluate(objective, entry.valid, {}, self.precision)["loss"]

    def weights(self) -> Weights:
        """Return copies of what evaluation should use."""
        with self.optimizer.evaluating() if self.candidate.rule.averages else nullcontext():
            params = {name: tensor.detach().clone() for name, tensor in self.module.named_parameters()}
        return params, {name: tensor.detach().clone() for name, tensor in self.module.named_buffers()}


class Alone(Lane):
    """Members one after the other, each exactly as a training alone is.

    Dropout takes its masks from the same counters as in a stack; what else the model draws comes from a generator of
    the member's own.

    Attributes:
        reason: why the members are not stacked.
    """

    kind: ClassVar[str] = "alone"

    def __init__(
        self, entry: Entry, candidates: Sequence[Candidate], numbers: Sequence[int], total: int, reason: str
    ) -> None:
        super().__init__(entry, candidates, numbers, total)
        self.reason = reason
        self.members = [_Member(entry, candidate, total) for candidate in candidates]

    def advance(self, count: int) -> Losses:
        found = torch.stack([member.advance(self.step, count) for member in self.members], dim=1)
        self.step += count
        return found.to("cpu", torch.float64).numpy()

    def scores(self) -> Losses:
        return np.array([member.score() for member in self.members])

    def keep(self, rows: Sequence[int]) -> None:
        self.members = [self.members[row] for row in rows]
        self._keep_numbers(rows)

    def weights(self, row: int) -> Weights:
        return self.members[row].weights()

    def state(self) -> dict[str, Any]:
        held = [
            {
                "params": dict(member.module.named_parameters()),
                "buffers": dict(member.module.named_buffers()),
                "states": [
                    dict(member.optimizer.state.get(param, {}))
                    for group in member.optimizer.param_groups
                    for param in group["params"]
                ],
                "generator": member.generator,
            }
            for member in self.members
        ]
        return {"step": self.step, "reason": self.reason, "members": held}

    def load_state(self, state: dict[str, Any]) -> None:
        self.step, self.reason = int(state["step"]), str(state["reason"])
        for member, held in zip(self.members, state["members"], strict=True):
            _fill(member.module, held["params"], held["buffers"])
            params = [param for group in member.optimizer.param_groups for param in group["params"]]
            for param, kept in zip(params, held["states"], strict=True):
                if kept:
                    member.optimizer.state[param] = dict(kept)
            member.generator = list(held["generator"])


def _mean(total: Tensor, weight: Tensor | int, penalty: Tensor | None) -> Tensor:
    if isinstance(weight, Tensor):
        mean = torch.where(weight > 0, total / torch.where(weight > 0, weight, 1), 0.0)
    else:
        mean = total / weight if weight else total * 0
    return mean.detach() if penalty is None else mean.detach() + penalty


@torch.no_grad()
def _fill(module: nn.Module, params: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
    for name, param in module.named_parameters():
        param.copy_(params[name])
    for name, buffer in module.named_buffers():
        buffer.copy_(buffers[name])


def _generator_state(seed: int, device: torch.device) -> list[Tensor]:
    """Return the states that torch's generators have after ``manual_seed``."""
    made = [torch.Generator().manual_seed(seed & ((1 << 63) - 1)).get_state()]
    if device.type == "cuda":
        made.append(torch.Generator(device).manual_seed(seed & ((1 << 63) - 1)).get_state())
    return made


class _generator:
    """Hold the member's generator states as torch's own, and put those back afterwards."""

    def __init__(self, member: _Member) -> None:
        self._member = member
        self._on = member.entry.draws
        self._cuda = member.entry.device if member.entry.device.type == "cuda" else None

    def _read(self) -> list[Tensor]:
        held = [torch.get_rng_state()]
        return held if self._cuda is None else [*held, torch.cuda.get_rng_state(self._cuda)]

    def _write(self, states: Sequence[Tensor]) -> None:
        torch.set_rng_state(states[0].cpu())
        if self._cuda is not None:
            torch.cuda.set_rng_state(states[1].cpu(), self._cuda)

    def __enter__(self) -> None:
        if self._on:
            self._before = self._read()
            self._write(self._member.generator)

    def __exit__(self, *error: object) -> None:
        if self._on:
            self._member.generator = self._read()
            self._write(self._before)

"""What a finder is given: the parts of a training, and how to make one update at a rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Source
from ..loop import EagerStep, Precision, Processes, RankStep
from ..loop.modes import train_mode
from ..objective import Objective

__all__ = ["Parts", "Updates"]


@dataclass(frozen=True)
class Parts:
    """The parts of a training that a finder tries out.

    Attributes:
        module: the plain model.
        objective: model, loss and penalty.
        optimizer: over the model's parameters; its groups' rates at the start are the ratios that a sweep keeps.
        source: training batches.
        precision: number format.
        accumulate: micro-batches per update.
        clip_norm, clip_value: for torch's optimizers; ours clip by themselves.
        valid: batches that decide between candidates, or None to take training batches for it.
        valid_objective: for them; None: the training's.
        evaluating: holds the weights that evaluation should use (rules that average).
        processes: that the training batches are shared out among, so that they make every update together; None: this
            process has them all.
        valid_processes: likewise for the deciding ones.
    """

    module: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    source: Source
    precision: Precision
    accumulate: int = 1
    clip_norm: float | None = None
    clip_value: float | None = None
    valid: Source | None = None
    valid_objective: Objective | None = None
    evaluating: Callable[[], AbstractContextManager[None]] = field(default=nullcontext)
    processes: Processes | None = None
    valid_processes: Processes | None = None

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.module.parameters()).device


class Updates:
    """Updates from where the model is, one after the other, each at a rate of its own.

    Batches come from epoch 0 on, in the source's order; a window of micro-batches that an epoch's end cuts short is an
    update of its own, as in training.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._ratios = rate_ratios(parts.optimizer)
        clips: dict[str, Any] = {"clip_norm": parts.clip_norm, "clip_value": parts.clip_value, "record_norm": False}
        common = (parts.objective, parts.optimizer, parts.precision)
        if parts.processes is None:
            self._stepper = EagerStep(*common, **clips)
        else:  # a trial is too short for DDP's hooks to pay
            self._stepper = RankStep(*common, processes=parts.processes, source=parts.source, overlap=False, **clips)
        self._batches = self._windows()
        for param in parts.module.parameters():
            param.grad = None
        train_mode(parts.objective.model, parts.optimizer)

    def at(self, rate: float) -> Tensor:
        """Make one update at *rate* and return the loss before it, a 0-dim tensor on the device."""
        for group, ratio in zip(self.parts.optimizer.param_groups, self._ratios, strict=True):
            group["lr"] = rate * ratio
        stepper = self._stepper
        for batch in next(self._batches):
            stepper.micro(batch, self.parts.accumulate)
        stepper.update()
        total, weight = stepper.loss, stepper.weight  # of all processes together, once the update is made
        assert total is not None
        loss = total.double() / weight if total.device.type != "mps" else total / weight
        if stepper.penalty is not None:
            loss = loss + stepper.penalty
        stepper.clear()
        return loss.detach()

    def end(self) -> None:
        """Make the model the same in all processes, before it is evaluated."""
        self._stepper.align()

    def _windows(self) -> Iterator[list[Any]]:
        epoch = 0
        while True:
            window: list[Any] = []
            empty = True
            for batch in self.parts.source.batches(epoch):
                empty = False
                window.append(batch)
                if len(window) == self.parts.accumulate:
                    yield window
                    window = []
            if window:
                yield window
            if empty:
                raise ValueError(
                    f"lr_find: the data gave no batch when they were read for the {_ordinal(epoch + 1)} time, but a "
                    "finder needs to read them more than once; pass data that can be read again (a list, arrays, a "
                    "Dataset)."
                )
            epoch += 1


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def rate_ratios(optimizer: torch.optim.Optimizer) -> list[float]:
    """Return each group's rate relative to the last group's, which the sweep's rate is.

    Raises:
        ValueError: the rule computes its own rate, so there is none to find.
    """
    rates = [group.get("lr") for group in optimizer.param_groups]
    if any(rate is None for rate in rates):
        raise ValueError(
            "lr_find: the rule computes its own rate (lr=None), so there is none to find; give the rule a rate, or "
            "train without a finder."
        )
    numbers = [float(rate) for rate in rates if rate is not None]
    return [rate / numbers[-1] if numbers[-1] else 1.0 for rate in numbers]

"""Torch's schedulers in our loop: a description of one, and the driver that steps it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from thalweg.errors import check_number, unknown_name

from .base import FloatArray
from .plain_state import decoded, encoded

__all__ = ["TorchDriver", "TorchSchedule", "from_torch"]


def wants_metric(scheduler: object) -> bool:
    """Return whether ``scheduler.step`` must be given a metric, as ``ReduceLROnPlateau``'s."""
    parameters = list(inspect.signature(scheduler.step).parameters.values())  # type: ignore[attr-defined]
    return bool(parameters) and parameters[0].default is inspect.Parameter.empty


class TorchDriver:
    """Steps a torch scheduler for a loop, and keeps everything that resuming it needs as plain data.

    A torch scheduler is stateful and computes each rate from the one in the group, so the groups' numbers belong to its
    state: :meth:`state_dict` holds them too, and a resumed run is bit-equal in whatever order things are loaded.

    Args:
        scheduler: torch's, already on its optimizer.
        every: ``"step"``: :meth:`step` is due after every real update; ``"epoch"``: after every epoch.
        monitor: the metric that it is to be given, where it wants one.
    """

    def __init__(self, scheduler: LRScheduler, every: Literal["step", "epoch"], monitor: str) -> None:
        self.scheduler = scheduler
        self.every = every
        self.monitor = monitor
        self.needs_metric = wants_metric(scheduler)

    @property
    def rates(self) -> list[float]:
        """The groups' learning rates now, shape ``(groups,)``."""
        return [float(group["lr"]) for group in self.scheduler.optimizer.param_groups]

    def step(self, metric: float | None = None) -> None:
        """Step the scheduler; due after a real update or an epoch, as :attr:`every` says.

        Args:
            metric: for schedulers that want one; others take no notice of it.

        Raises:
            ValueError: the scheduler wants a metric and got none, or NaN.
        """
        if self.needs_metric:
            name = type(self.scheduler).__name__
            if metric is None:
                raise ValueError(f"{name}: step() needs the metric {self.monitor!r}, got none; pass it.")
            check_number(name, self.monitor, metric)
            self.scheduler.step(metric)  # type: ignore[arg-type]  # torch's own override
        else:
            # The mark that optimizer.step() leaves, without which torch warns that the update was forgotten: an engine
            # that runs a kernel directly does not call it, and whoever calls this method says that the update was made.
            self.scheduler.optimizer._opt_called = True  # type: ignore[attr-defined]
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state and the groups' numbers, as data that JSON keeps exactly.

        Raises:
            TypeError: the scheduler's state holds something that is no plain data.
        """
        groups = [
            {key: value for key, value in group.items() if key != "params" and _is_number(value)}
            for group in self.scheduler.optimizer.param_groups
        ]
        name = type(self.scheduler).__name__
        return {
            "class": name,
            "scheduler": encoded(self.scheduler.state_dict(), name),
            "groups": encoded(groups, name),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the state was saved.

        Raises:
            ValueError: it belongs to another class of scheduler, or to another number of groups.
        """
        name = type(self.scheduler).__name__
        if state["class"] != name:
            raise ValueError(
                f"{name}: the state was saved by {state['class']}; make the scheduler that it was saved with."
            )
        groups = self.scheduler.optimizer.param_groups
        saved = decoded(state["groups"])
        if len(saved) != len(groups):
            raise ValueError(
                f"{name}: the state holds {len(saved)} groups, the optimizer has {len(groups)}; give it those it had."
            )
        self.scheduler.load_state_dict(decoded(state["scheduler"]))
        for group, numbers in zip(groups, saved, strict=True):
            for key, value in numbers.items():
                if isinstance(group.get(key), torch.Tensor):
                    group[key].fill_(value)
                else:
                    group[key] = value


def _is_number(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_number(item) for item in value)
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class TorchSchedule:
    """A torch scheduler described and not yet made, because it needs the optimizer.

    Made by :func:`from_torch`.

    Args:
        factory: a scheduler class or any callable ``optimizer → scheduler``; or a scheduler on the loop's optimizer.
        settings: keyword arguments of *factory*.
        every: when it is stepped: ``"step"`` or ``"epoch"``; None: per epoch where it wants a metric, else per step.
        monitor: the metric for those that want one.
    """

    factory: Callable[..., LRScheduler] | LRScheduler
    settings: Mapping[str, Any] = field(default_factory=dict)
    every: Literal["step", "epoch"] | None = None
    monitor: str = "val_loss"

    def driver(self, optimizer: Optimizer) -> TorchDriver:
        """Return the driver of the scheduler on *optimizer*.

        Raises:
            TypeError: the factory makes no scheduler.
            ValueError: a finished scheduler belongs to another optimizer.
        """
        scheduler = self.factory if isinstance(self.factory, LRScheduler) else self.factory(optimizer, **self.settings)
        if not isinstance(scheduler, LRScheduler):
            raise TypeError(
                f"from_torch: the factory returned {scheduler!r}, got {type(scheduler).__name__}; it must return a "
                "torch.optim.lr_scheduler.LRScheduler."
            )
        if scheduler.optimizer is not optimizer:
            raise ValueError(
                f"from_torch: this {type(scheduler).__name__} belongs to another optimizer than the loop's; pass how "
                "to make it instead, as in from_torch(lambda optimizer: …)."
            )
        return TorchDriver(scheduler, self.every or ("epoch" if wants_metric(scheduler) else "step"), self.monitor)

    def preview(self, bases: Sequence[float], steps: int) -> FloatArray:
        """Return the rates that the scheduler would set, by stepping a copy on a made-up optimizer.

        Args:
            bases: the groups' learning rates, shape ``(groups,)``.
            steps: how many of its own steps (updates or epochs) to look ahead; each costs one call.

        Returns:
            float64, shape ``(steps, groups)``. A scheduler that waits for a metric is shown as if none came.

        Raises:
            ValueError: the scheduler is finished and bound to its optimizer, so that there is nothing to copy.
        """
        if isinstance(self.factory, LRScheduler):
            raise ValueError(
                f"from_torch: a finished {type(self.factory).__name__} cannot be previewed without changing its "
                "optimizer; pass how to make it instead, as in from_torch(lambda optimizer: …)."
            )
        groups = [{"params": [torch.zeros(1)], "lr": float(base)} for base in bases]
        driver = self.driver(torch.optim.SGD(groups, lr=0.0, momentum=0.9))
        rates = np.empty((steps, len(groups)), dtype=np.float64)
        for i in range(steps):
            rates[i] = driver.rates
            if not driver.needs_metric:
                driver.step()
        return rates


def from_torch(
    factory: Callable[..., LRScheduler] | LRScheduler,
    *,
    every: Literal["step", "epoch"] | None = None,
    monitor: str = "val_loss",
    **settings: Any,
) -> TorchSchedule:
    """Return a torch scheduler in the form that our loop takes.

    Args:
        factory: a scheduler class, with its arguments in *settings*; any callable ``optimizer → scheduler`` (Hugging
            Face's ``get_*_schedule`` functions too); or a scheduler that is already on the loop's optimizer.
        every: ``"step"``: stepped after every real update; ``"epoch"``: after every epoch. None: every epoch where it
            wants a metric (``ReduceLROnPlateau``), else every step.
        monitor: the metric for schedulers that want one.
        settings: keyword arguments of *factory*.

    Raises:
        TypeError: *factory* is neither, or settings come with a finished scheduler.
        ValueError: an unknown *every*.

    >>> step = from_torch(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)
    >>> step.preview([1.0], steps=5)[:, 0]
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    if every not in (None, "step", "epoch"):
        raise unknown_name("from_torch every", "clock", every, ["step", "epoch"])
    if isinstance(factory, LRScheduler) and settings:
        raise TypeError(
            f"from_torch: {type(factory).__name__} is finished, and got the settings {sorted(settings)} as well; pass "
            "the class with its settings."
        )
    if not callable(factory) and not isinstance(factory, LRScheduler):
        raise TypeError(
            f"from_torch: {factory!r} makes no scheduler, got {type(factory).__name__}; pass a class of "
            "torch.optim.lr_scheduler with its settings, or a callable optimizer → scheduler."
        )
    return TorchSchedule(factory, settings, every, monitor)

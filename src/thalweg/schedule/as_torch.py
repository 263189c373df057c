"""Our schedules in someone else's loop: a real ``torch.optim.lr_scheduler.LRScheduler``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from thalweg.errors import listing

from .base import FloatArray, Schedule
from .controller import Controller
from .hyper import read, resolve, write

__all__ = ["ScheduleLR", "as_torch"]

AHEAD = 256  # steps computed at once: a call per step would cost more than a hand-written closed form


class ScheduleLR(LRScheduler):
    """Sets an optimizer's hyperparameters from schedules, once per ``step()``.

    Made by :func:`as_torch`. ``step()`` belongs after every real update. The values are closed forms of the number of
    steps and of the bases that the groups had at the beginning (kept in the groups as ``initial_lr`` and
    ``initial_momentum``, … , torch's habit), so that a resumed run is bit-equal.

    Args:
        optimizer: whose groups it sets.
        schedules: hyperparameter → resolved schedule.
        last_epoch: steps that were done before, -1 for a new run, as in torch.
    """

    def __init__(self, optimizer: Optimizer, schedules: Mapping[str, Schedule], last_epoch: int = -1) -> None:
        self.schedules = dict(schedules)
        self.bases: dict[str, list[float]] = {}
        for name in self.schedules:
            for group in optimizer.param_groups:
                now = read(group, name)
                if last_epoch == -1:
                    group.setdefault(f"initial_{name}", now)
            if all(f"initial_{name}" in group for group in optimizer.param_groups):
                self.bases[name] = [float(group[f"initial_{name}"]) for group in optimizer.param_groups]
            else:
                raise ValueError(
                    f"as_torch: last_epoch={last_epoch} goes on with a run, but a group has no 'initial_{name}'; load "
                    "the optimizer's state first, or pass last_epoch=-1."
                )
        self.controllers: tuple[Controller, ...] = tuple(
            controller for schedule in self.schedules.values() for controller in schedule.controllers
        )
        self.control_states = [controller.init() for controller in self.controllers]
        self._ahead: dict[str, list[FloatArray]] = {}
        self._ahead_from = -1
        super().__init__(optimizer, last_epoch)

    def planned(self, name: str) -> list[float]:
        """Return the planned value of one hyperparameter for each group, controllers left out."""
        start = self.last_epoch - self.last_epoch % AHEAD
        if start != self._ahead_from:
            steps = np.arange(start, start + AHEAD)
            self._ahead = {
                key: [self.schedules[key].value(steps, base) for base in bases] for key, bases in self.bases.items()
            }
            self._ahead_from = start
        return [float(values[self.last_epoch - start]) for values in self._ahead[name]]

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each group at this step; the other hyperparameters are set on the way, as torch does."""
        for name in self.schedules:
            if name != "lr":
                for group, value in zip(self.optimizer.param_groups, self.planned(name), strict=True):
                    write(group, name, value)
        return list(self._rates())

    def _rates(self) -> list[float]:
        if "lr" not in self.schedules:
            return [read(group, "lr") for group in self.optimizer.param_groups]
        rates = self.planned("lr")
        for controller, state in zip(self.controllers, self.control_states, strict=True):
            rates = [controller.apply(state, rate) for rate in rates]
        return rates

    def observe(self, metric: float | Mapping[str, float]) -> None:
        """Give the controllers (reduce on plateau) their metric, once per evaluation.

        Args:
            metric: a number, or a mapping in which each finds the one it monitors.

        Raises:
            ValueError: the schedule has no controller, the monitored metric is not there, or it is NaN.
        """
        if not self.controllers:
            raise ValueError("as_torch: observe(…) is for schedules with a ReduceOnPlateau; this one has none.")
        for i, controller in enumerate(self.controllers):
            if isinstance(metric, Mapping):
                if controller.monitor not in metric:
                    raise ValueError(
                        f"as_torch: the plateau monitors {controller.monitor!r}, but the metrics are {listing(metric)}"
                        "; pass it, or set monitor=…."
                    )
                value = metric[controller.monitor]
            else:
                value = metric
            self.control_states[i] = controller.update(self.control_states[i], value)
        self._set()

    def _set(self) -> None:
        for name in self.schedules:
            values = self._rates() if name == "lr" else self.planned(name)
            for group, value in zip(self.optimizer.param_groups, values, strict=True):
                write(group, name, value)
        self._last_lr = [read(group, "lr") for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain data: the step, the bases, the controllers' states, and what schedules they are."""
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "bases": {name: list(bases) for name, bases in self.bases.items()},
            "controllers": [dict(state) for state in self.control_states],
            "schedules": {name: repr(schedule) for name, schedule in self.schedules.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the state was saved, and set the groups to the values of that step.

        Raises:
            ValueError: the state belongs to other schedules, or to another number of groups.
        """
        mine = {name: repr(schedule) for name, schedule in self.schedules.items()}
        if state_dict.get("schedules") != mine:
            raise ValueError(
                f"as_torch: the state was saved with {state_dict.get('schedules')}, but this scheduler has {mine}; "
                "make it with the same schedule and the same total steps."
            )
        groups = len(self.optimizer.param_groups)
        if any(len(bases) != groups for bases in state_dict["bases"].values()):
            raise ValueError(
                f"as_torch: the state holds another number of groups than the optimizer's {groups}; give the optimizer "
                "the groups it had."
            )
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = state_dict["_step_count"]
        self.bases = {name: list(bases) for name, bases in state_dict["bases"].items()}
        self.base_lrs = list(self.bases.get("lr", self.base_lrs))
        self.control_states = [dict(state) for state in state_dict["controllers"]]
        self._ahead_from = -1
        self._set()


def as_torch(
    schedule: object,
    optimizer: Optimizer,
    total_steps: int | None = None,
    steps_per_epoch: int | None = None,
    last_epoch: int = -1,
) -> ScheduleLR:
    """Return a schedule as a torch scheduler on *optimizer*, to be stepped after every real update.

    Args:
        schedule: a schedule, a name, plain data, a function of the step, or a mapping of hyperparameters to these.
        optimizer: any ``torch.optim.Optimizer``; each group's present values are its bases.
        total_steps: updates of the run; not needed where the schedule has counts already.
        steps_per_epoch: updates in an epoch.
        last_epoch: steps that were done before, -1 for a new run, as in torch.

    Raises:
        TypeError: something that describes no schedule.
        ValueError: a schedule that does not fit into the run, or acts on what the optimizer does not have.

    >>> import torch
    >>> from thalweg.schedule import Cosine, Warmup
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = as_torch(Warmup(2) >> Cosine(), optimizer, total_steps=4)
    >>> for _ in range(4):
    ...     print(round(scheduler.get_last_lr()[0], 4), end=" ")
    ...     optimizer.step()
    ...     scheduler.step()
    0.0 0.5 1.0 0.5
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"as_torch: optimizer={optimizer!r} is no torch.optim.Optimizer, got {type(optimizer).__name__}; a rule "
            "gives one by rule.optimizer(model.parameters())."
        )
    return ScheduleLR(optimizer, resolve(schedule, total_steps, steps_per_epoch, "as_torch"), last_epoch)

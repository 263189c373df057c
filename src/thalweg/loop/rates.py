"""Schedules applied to the param groups, one real update after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from thalweg.errors import unknown_name
from thalweg.schedule import Schedule, has, read, write

__all__ = ["Rates"]

_BLOCK = 1024


class Rates:
    """Sets each group's scheduled hyperparameters before an update, from the group's own base.

    The curves are closed forms of the step, evaluated a block at a time, so a step costs a list look-up and going on at
    any step needs no memory of the ones before.

    Args:
        optimizer: whose ``param_groups`` are set; their present values are the bases.
        schedules: hyperparameter name → resolved schedule.
        bases: bases of an earlier run to go on with, as :attr:`bases` gave them, or None.

    Raises:
        ValueError: a schedule of a hyperparameter that no group has.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedules: Mapping[str, Schedule],
        bases: list[dict[str, float]] | None = None,
    ) -> None:
        self.schedules = dict(schedules)
        self._control = [
            (name, controller, controller.init())
            for name, schedule in self.schedules.items()
            for controller in schedule.controllers
        ]
        self._optimizer = optimizer
        self._groups = optimizer.param_groups
        for name in self.schedules:
            if not any(has(group, name) for group in self._groups):
                raise ValueError(
                    f"schedule: {name!r} was to be scheduled, but {type(optimizer).__name__}'s groups have only "
                    f"{sorted(k for k in self._groups[0] if k not in ('params', 'names', 'label'))}; "
                    "schedule one of those."
                )
        if bases is None:
            bases = [{name: read(group, name) for name in self.schedules if has(group, name)} for group in self._groups]
        self.bases = bases
        self._start = self._end = 0
        self._columns: list[tuple[dict[str, Any], str, list[float]]] = []
        self.names, self.columns = _columns(self._groups)

    @property
    def active(self) -> bool:
        """Whether anything is scheduled at all."""
        return bool(self.schedules)

    @property
    def is_controlled(self) -> bool:
        """Whether a controller among the schedules waits for an epoch's metric."""
        return bool(self._control)

    def apply(self, step: int) -> None:
        """Set the hyperparameters for the update number *step* (from 0)."""
        if not self._start <= step < self._end:
            self._fill(step)
        row = step - self._start
        for group, name, values in self._columns:
            write(group, name, values[row])

    def current(self) -> tuple[float | None, ...]:
        """Return rate and momentum as they stand, in the order of :attr:`names`."""
        return tuple([_value(group, key) for key, group in self.columns])

    def observe(self, row: Mapping[str, float]) -> list[str]:
        """Show an epoch's row to the controllers; return a line for each multiplier that changed.

        Raises:
            ValueError: a controller watches a metric that the row has not.
        """
        lines: list[str] = []
        for index, (name, controller, state) in enumerate(self._control):
            if controller.monitor not in row:
                raise unknown_name(type(controller).__name__, "monitored metric", controller.monitor, row)
            after = controller.update(state, row[controller.monitor])
            self._control[index] = (name, controller, after)
            before, now = controller.multiplier(state), controller.multiplier(after)
            if now != before:
                self._start = self._end = 0
                lines.append(
                    f"{name} multiplied by {now / before:g} (now {now:g} of the plan): {controller.monitor} = "
                    f"{row[controller.monitor]:.6g} is no better"
                )
        return lines

    def changes(self, start: int, stop: int) -> list[tuple[int, str]]:
        """Return (step, line) for each change of value by a step schedule at a step in [start, stop)."""
        lines: list[tuple[int, str]] = []
        for name, schedule in self.schedules.items():
            for step in schedule.changes(start, stop).tolist():
                base = next(bases[name] for bases in self.bases if name in bases)
                lines.append((step, f"{name} is now {schedule.value(step, base):.6g}"))
        return sorted(lines)

    def multiply(self, name: str, factor: float) -> None:
        """Multiply every group's value of a hyperparameter by *factor*, and the base its schedule goes by."""
        for group, bases in zip(self._groups, self.bases, strict=True):
            if name in bases:
                bases[name] *= factor
            if has(group, name):
                write(group, name, read(group, name) * factor)
        self._start = self._end = 0

    def state(self) -> dict[str, Any]:
        """Return bases and controller states."""
        return {"bases": self.bases, "control": [dict(state) for _, _, state in self._control]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` returned; what only the schedules before moved gets its base back."""
        # Loading a state dict gives an optimizer new group dictionaries.
        self._groups = self._optimizer.param_groups
        for group, saved in zip(self._groups, state["bases"], strict=True):
            for name in saved.keys() - self.schedules.keys():
                write(group, name, saved[name])
        self.bases = [
            {name: saved.get(name, base) for name, base in own.items()}
            for own, saved in zip(self.bases, state["bases"], strict=True)
        ]
        if len(self._control) == len(state["control"]):
            self._control = [
                (name, controller, dict(saved))
                for (name, controller, _), saved in zip(self._control, state["control"], strict=True)
            ]
        self.names, self.columns = _columns(self._groups)
        self._start = self._end = 0

    def curve(self, name: str, group: int, steps: np.ndarray) -> np.ndarray:
        """Return the values of one hyperparameter of one group at *steps*, controllers aside."""
        base = self.bases[group].get(name)
        if base is None:
            return np.full(steps.shape, read(self._groups[group], name))
        return np.asarray(self.schedules[name].value(steps, base), dtype=np.float64)

    def _fill(self, step: int) -> None:
        self._start, self._end = step, step + _BLOCK
        steps = np.arange(self._start, self._end)
        self._columns = []
        for group, bases in zip(self._groups, self.bases, strict=True):
            for name, base in bases.items():
                values = np.asarray(self.schedules[name].value(steps, base), dtype=np.float64)
                for controlled, controller, state in self._control:
                    if controlled == name:
                        values = controller.apply(state, values)
                self._columns.append((group, name, values.tolist()))


Column = tuple[str, dict[str, Any]]


def _value(group: dict[str, Any], key: str) -> float | None:
    """Return what a group holds under *key*, the first of several (betas), and None where it has nothing."""
    value = group.get(key)
    if type(value) is float or value is None:
        return value
    return float(value[0] if isinstance(value, (tuple, list)) else value)


def _columns(groups: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[Column]]:
    """Return the recorded columns: rate and momentum of the last group, and the rate of each labelled layer group."""
    names: list[str] = ["lr", "momentum"]
    momentum = "momentum" if "momentum" in groups[-1] else "betas"
    columns: list[Column] = [("lr", groups[-1]), (momentum, groups[-1])]
    for group in groups:
        name = f"lr/{group.get('label')}"
        if group.get("label") and name not in names:
            names.append(name)
            columns.append(("lr", group))
    return tuple(names), columns

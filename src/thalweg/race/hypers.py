"""Every member's hyperparameters at every update, a block of closed-form values at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.stacked_rule import RATIO, rate_ratio
from ..schedule import resolve
from .candidate import Setting
from .structure import is_number

__all__ = ["Hypers"]

_BLOCK = 1024
_VALUES = 1 << 20

Column = np.ndarray[Any, np.dtype[np.float64]]


class Hypers:
    """Hyperparameters of K members for each param group.

    What all members share for good is a number, as in a training alone; what differs or is scheduled is a row of a
    table **(S, K)** of float64 values, made for S steps at a time and moved to the device at once.

    Args:
        settings: one per member; rules of one structure.
        groups: what each param group sets for itself (weight decay 0 for biases, say).
        total: updates of a whole training.
        per_epoch: updates of an epoch.
        dtype: of the parameters.
        device: where they are.

    Raises:
        ValueError: a schedule that does not fit into the training, or of what the rule has not.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        groups: Sequence[Mapping[str, Any]],
        total: int,
        per_epoch: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.dtype, self.device = dtype, device
        self.count = len(settings)
        self._settings, self._groups, self._clock = settings, groups, (total, per_epoch)
        self._schedules: dict[Any, tuple[dict[str, Any], list[int]]] = {}
        for number, setting in enumerate(settings):
            if setting.schedules:
                if setting.schedules not in self._schedules:
                    held = resolve(dict(setting.schedules), total, per_epoch, "race: schedule")
                    self._schedules[setting.schedules] = (held, [])
                self._schedules[setting.schedules][1].append(number)
        hypers = [setting.rule.hyper() for setting in settings]
        self.names = list(hypers[0])
        self._bases = {name: _column(name, [hyper[name] for hyper in hypers]) for name in self.names}
        ratios = [rate_ratio(setting.rule) for setting in settings]
        if ratios[0] is not None:
            self._bases[RATIO] = _column("lr", ratios)
        self._check()
        self._first, self._size = 0, 0
        self._tables: list[dict[str, Any]] = []
        self._host: list[dict[str, Any]] = []
        self._steady: list[dict[str, Any]] | None = None

    def _check(self) -> None:
        for held, _ in self._schedules.values():
            for name in held:
                if _key(self._bases, name) is None:
                    raise ValueError(
                        f"race: {name!r} was to be scheduled, but the rule has only {sorted(self._bases)}; schedule "
                        "one of those, or race that rule with another schedule."
                    )

    def at(self, step: int) -> list[dict[str, Any]]:
        """Return each group's hyperparameters for update number *step*, from 0; **(K,)** what differs."""
        if self._steady is not None:
            return self._steady
        if not self._first <= step < self._first + self._size:
            self._fill(step)
        row = step - self._first
        if not self._schedules:
            self._steady = [{name: _row(value, 0) for name, value in table.items()} for table in self._tables]
            return self._steady
        return [{name: _row(value, row) for name, value in table.items()} for table in self._tables]

    def alike(self) -> list[int]:
        """Return, for each param group, the first one whose hyperparameters are the same for good."""
        found = [{**self._bases, **{n: v for n, v in group.items() if n in self._bases}} for group in self._groups]
        return [
            next(
                other
                for other in range(number + 1)
                if all(_same(found[other][name], found[number][name]) for name in self._bases)
            )
            for number in range(len(found))
        ]

    def moved(self, step: int) -> list[dict[str, Any]]:
        """Return each group's scheduled hyperparameters for update number *step* as lists of K numbers on the host."""
        if not self._schedules:
            return [{} for _ in self._groups]
        if not self._first <= step < self._first + self._size:
            self._fill(step)
        row = step - self._first
        return [{name: _list(value, row) for name, value in table.items()} for table in self._host]

    def sample(self) -> dict[str, Any]:
        """Return one group's hyperparameters with 1/2 for every number that is not 0 for all members, groups, steps."""
        tables = [self._values(group, np.arange(1)) for group in self._groups]
        moved = {_key(self._bases, name) for held, _ in self._schedules.values() for name in held}

        def one(name: str, values: list[Any]) -> Any:
            if isinstance(values[0], tuple) and is_number(name, 1.0):
                return tuple(one(name, list(column)) for column in zip(*values, strict=True))
            if not is_number(name, values[0]) and not isinstance(values[0], np.ndarray):
                return values[0]
            return 0.5 if name in moved or any(np.any(np.asarray(value) != 0) for value in values) else 0.0

        return {name: one(name, [table[name] for table in tables]) for name in self._bases}

    def columns(self, first: int, count: int, groups: Sequence[int], names: Sequence[str]) -> Column:
        """Return hyperparameters for *count* updates from *first* on, **(S, K, groups, names)**; S is 1 if none moves.

        Args:
            first, count: updates.
            groups: numbers of param groups.
            names: of hyperparameters; ``"betas/1"`` is the second of a pair.
        """
        steps = np.arange(first, first + (count if self._schedules else 1))
        found = np.empty((len(steps), self.count, len(groups), len(names)))
        for place, group in enumerate(groups):
            values = self._values(self._groups[group], steps)
            for column, name in enumerate(names):
                base, _, item = name.partition("/")
                found[:, :, place, column] = values[base][int(item)] if item else values[base]
        return found

    def _fill(self, step: int) -> None:
        size = max(16, min(_BLOCK, _VALUES // self.count)) if self._schedules else 1
        steps = np.arange(step, step + size)
        self._first, self._size = step, size
        values = [self._values(group, steps) for group in self._groups]
        self._tables = [{name: self._held(value) for name, value in table.items()} for table in values]
        moved = {_key(self._bases, name) for held, _ in self._schedules.values() for name in held}
        self._host = [{name: value for name, value in table.items() if name in moved} for table in values]

    def _held(self, value: Any) -> Any:
        """Return a table on the device; a number where all members share it."""
        if isinstance(value, tuple):
            return tuple(self._held(item) for item in value)
        if not isinstance(value, np.ndarray):
            return value
        return torch.from_numpy(value).to(device=self.device, dtype=self.dtype)

    def _values(self, group: Mapping[str, Any], steps: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Return name → a number, or a table **(S, K)**; tuples likewise."""
        found: dict[str, Any] = {}
        for name, base in self._bases.items():
            own = group.get(name)
            found[name] = _column(name, [own] * self.count) if name in group else base
        for held, members in self._schedules.values():
            for name, schedule in held.items():
                key = _key(self._bases, name)
                assert key is not None
                value = found[key]
                target = value[0] if isinstance(value, tuple) else value
                table = np.broadcast_to(np.asarray(target, dtype=np.float64), (len(steps), self.count)).copy()
                table[:, members] = schedule.value(steps[:, None], table[:1, members])
                found[key] = (table, *value[1:]) if isinstance(value, tuple) else table
        return {name: _tabled(value, len(steps)) for name, value in found.items()}

    def take(self, rows: Sequence[int]) -> Hypers:
        """Return those of the members *rows*."""
        return Hypers([self._settings[row] for row in rows], self._groups, *self._clock, self.dtype, self.device)


def _key(bases: Mapping[str, Any], name: str) -> str | None:
    """Return where a schedule's hyperparameter stands; ``"momentum"`` is the first beta where there is none."""
    if name == "momentum" and "momentum" not in bases:
        return "betas" if "betas" in bases else None
    return name if name in bases and bases[name] is not None else None


def _column(name: str, values: Sequence[Any]) -> Any:
    """Return a number where all values are equal, else **(K,)** float64; tuples element by element."""
    first = values[0]
    if isinstance(first, (tuple, list)) and any(isinstance(item, float) for item in first) and is_number(name, 1.0):
        return tuple(_column(name, [value[place] for value in values]) for place in range(len(first)))
    if all(value is first or value == first for value in values):
        return float(first) if is_number(name, first) else first
    return np.array([float(value) for value in values])


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(np.all(np.asarray(a) == np.asarray(b)))


def _tabled(value: Any, steps: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_tabled(item, steps) for item in value)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return np.broadcast_to(value, (steps, len(value))).copy()
    return value


def _row(value: Any, row: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_row(item, row) for item in value)
    return value[row] if isinstance(value, Tensor) else value


def _list(value: Any, row: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_list(item, row) for item in value)
    return value[row].tolist() if isinstance(value, np.ndarray) else value

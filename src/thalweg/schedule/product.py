"""One schedule on top of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Base, FloatArray, IntArray, Schedule
from .controller import Controller
from .duration import Clock
from .join import Join

__all__ = ["Product"]


@dataclass(frozen=True, repr=False)
class Product(Schedule):
    r"""Schedules that run at the same time, the value of each being the base of the one to its left.

    .. math:: \eta_t = a(t, \, b(t, \, \eta))

    Written ``a * b``. For factors this is their product; absolute numbers of *a* (``eta_min``) stay absolute.

    Args:
        parts: at least one schedule; products among them are taken apart.

    Raises:
        TypeError: a part is no schedule.
        ValueError: no parts; two parts that both move the momentum.

    >>> from thalweg.schedule import Constant, Step, Warmup
    >>> (Warmup(2) * Step(3, gamma=0.5)).value(np.arange(7), base=1.0)
    array([0.  , 0.5 , 1.  , 0.5 , 0.5 , 0.5 , 0.25])
    """

    parts: tuple[Schedule, ...] | list[Schedule]

    name: ClassVar[str] = "product"

    def _check(self) -> None:
        flat: list[Schedule] = []
        for part in self.parts:
            if not isinstance(part, Schedule):
                raise TypeError(f"Product: the part {part!r} is no schedule, got {type(part).__name__}.")
            flat.extend(part.parts if isinstance(part, Product) else [part])
        if not flat:
            raise ValueError("Product: parts=[] leaves no schedule; give at least one.")
        object.__setattr__(self, "parts", tuple(flat))

    @property
    def length(self) -> int | None:
        return _longest([part.length for part in self.parts])

    @property
    def companions(self) -> Mapping[str, Schedule]:
        found: dict[str, Schedule] = {}
        for part in self.parts:
            for name, companion in part.companions.items():
                if name in found:
                    raise ValueError(
                        f"Product: two of its parts move the {name}; switch it off in one of them (moms=()), or give "
                        f'the schedules by name, as in {{"lr": …, "{name}": …}}.'
                    )
                found[name] = companion
        return found

    @property
    def controllers(self) -> tuple[Controller, ...]:
        return tuple(controller for part in self.parts for controller in part.controllers)

    def changes(self, start: int, stop: int) -> IntArray:
        return np.unique(np.concatenate([part.changes(start, stop) for part in self.parts]))

    def __repr__(self) -> str:
        return " * ".join(f"({part!r})" if isinstance(part, Join) else repr(part) for part in self.parts)

    def _check_base(self, base: float) -> None:
        self.parts[-1]._check_base(base)  # the others get its values, which begin and end where they will

    def _resolve(self, clock: Clock) -> Product:
        return Product(tuple(part._resolve(clock) for part in self.parts))

    def _fixed(self, clock: Clock) -> int | None:
        return _longest([part._fixed(clock) for part in self.parts])

    def _values(self, steps: IntArray, base: Base) -> FloatArray:
        values = base
        for part in reversed(self.parts):
            values = part._at(steps, values)
        return np.asarray(values)


def _longest(lengths: list[int | None]) -> int | None:
    known = [length for length in lengths if length is not None]
    return max(known) if len(known) == len(lengths) else None


def _product(outer: Schedule, inner: Schedule) -> Product:
    return Product((outer, inner))


Schedule._product = _product

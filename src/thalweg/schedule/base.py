"""What every schedule is: a closed form of the step, that can be joined and multiplied."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, overload

import numpy as np
import numpy.typing as npt

from thalweg.errors import check_number

from .controller import Controller
from .duration import Clock, Duration

__all__ = ["Base", "FloatArray", "IntArray", "Schedule"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Base = float | FloatArray

# Steps are evaluated in blocks that stay in the cache, and every block is filled up to whole SIMD vectors: NumPy's
# loops may treat a lone element, or the last few of an array, by other instructions than the rest, and a step's value
# must not depend on which other steps are asked for in the same call. (Arguments of cos, exp and pow are kept in range
# for the same reason.)
BLOCK = 16_384
LANES = 16


class Schedule(ABC):
    r"""A hyperparameter as a closed form of the step: ``value(step, base)``.

    ``step`` counts finished updates from 0, so that ``value(0, base)`` is used by the first update, as in torch.
    ``base`` is the group's own hyperparameter: factors keep the ratio between groups, absolute numbers (``eta_min``) do
    not. A schedule holds no state: the value at a step is the same bit for bit whether it is asked for alone, in an
    array, or after a resume.

    Subclasses are frozen dataclasses. Two operators combine them:

    - ``a >> b`` runs *a* for its length, then *b*, whose clock starts at 0;
    - ``a * b`` feeds *b*'s value to *a* as its base; for factors that is their product.

    After its length a schedule holds its last value.
    """

    #: What names the schedule in plain data.
    name: ClassVar[str]

    # join.py, product.py and lasting.py fill these in: they stand on this file, which therefore cannot import them.
    _join: ClassVar[Callable[[Schedule, Schedule], Schedule]]
    _product: ClassVar[Callable[[Schedule, Schedule], Schedule]]
    _lasting: ClassVar[Callable[[Schedule, Duration], Schedule]]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            object.__setattr__(self, field.name, _builtin(getattr(self, field.name)))
        self._check()

    # ------------------------------------------------------------------------------------------------ what users call

    def resolve(self, total_steps: int | None, steps_per_epoch: int | None = None) -> Schedule:
        """Return the same schedule with every duration as a count, checked against the run.

        Args:
            total_steps: updates of the whole run, or None where they are unknown (an endless stream).
            steps_per_epoch: updates in an epoch; needed for ``"2 epochs"`` and ``every="epoch"``.

        Raises:
            TypeError: a number is not an int.
            ValueError: the schedule does not fit into the run, or needs a number that is unknown.
        """
        return self._resolve(Clock.of(type(self).__name__, total_steps, steps_per_epoch))

    @overload
    def value(self, step: int, base: float) -> float: ...
    @overload
    def value(self, step: int | npt.NDArray[Any], base: npt.NDArray[Any]) -> FloatArray: ...
    @overload
    def value(self, step: npt.NDArray[Any], base: float | npt.NDArray[Any]) -> FloatArray: ...
    def value(self, step: int | npt.NDArray[Any], base: float | npt.NDArray[Any]) -> float | FloatArray:
        """Return the hyperparameter at *step*.

        Args:
            step: finished updates, an int or an integer array of any shape, >= 0.
            base: the group's own value, a float; or an array that broadcasts with *step*.

        Returns:
            A float for an int and a float; else a float64 array of the broadcast shape.

        Raises:
            TypeError: *step* is not integer, *base* is not a number.
            ValueError: a step is negative, *base* does not suit the schedule, or a duration is not resolved yet.
        """
        who = type(self).__name__
        steps = np.asarray(step)
        if steps.dtype.kind not in "iu":
            raise TypeError(f"{who}: step must be an int or an integer array, got {steps.dtype}; count whole updates.")
        if steps.size and steps.min() < 0:
            raise ValueError(f"{who}: step={steps.min()} is negative; the first update is step 0.")
        if not isinstance(base, np.ndarray):
            self._check_base(base)
            flat = np.ascontiguousarray(steps, dtype=np.int64).reshape(-1)
            values = self._at(flat, float(base))
            return float(values[0]) if steps.ndim == 0 else values.reshape(steps.shape)
        steps, bases = np.broadcast_arrays(steps, np.asarray(base, dtype=np.float64))
        flat = np.ascontiguousarray(steps, dtype=np.int64).reshape(-1)
        return self._at(flat, np.ascontiguousarray(bases).reshape(-1)).reshape(steps.shape)

    @property
    @abstractmethod
    def length(self) -> int | None:
        """Updates that the schedule lasts; None: endless, or not known before :meth:`resolve`."""

    def __rshift__(self, then: Schedule) -> Schedule:
        """Return the schedule that runs this one for its length, then *then* from its step 0."""
        return Schedule._join(self, _operand(">>", self, then))

    def __mul__(self, inner: Schedule) -> Schedule:
        """Return the schedule whose base is *inner*'s value: ``self.value(step, inner.value(step, base))``."""
        return Schedule._product(self, _operand("*", self, inner))

    def lasting(self, steps: Duration) -> Schedule:
        """Return the schedule with a length: ``Exponential(0.9).lasting("2 epochs") >> Cosine()``."""
        return Schedule._lasting(self, steps)

    @property
    def companions(self) -> Mapping[str, Schedule]:
        """Schedules of other hyperparameters that belong to this one: the momentum of a one-cycle."""
        return {}

    @property
    def controllers(self) -> tuple[Controller, ...]:
        """The controllers (:class:`ReduceOnPlateau`) among the parts, whose factors the loop multiplies on."""
        return ()

    def changes(self, start: int, stop: int) -> IntArray:
        """Return the steps in ``[start, stop)`` at which a step schedule changes the value, shape ``(k,)``, ascending.

        Smooth schedules have none.
        """
        return np.empty(0, dtype=np.int64)

    def __repr__(self) -> str:
        """Return the constructor call, fields at their defaults left out."""
        given = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(given)})"

    # --------------------------------------------------------------------------------------- what subclasses provide

    def _check(self) -> None:
        """Raise where a field cannot work, whatever the run; there is nothing that could be wrong with no fields."""
        return

    def _check_base(self, base: float) -> None:
        """Raise where *base* does not suit the schedule."""
        check_number(type(self).__name__, "base", base, low=0.0, advice="a rate, momentum or decay is not negative")

    @abstractmethod
    def _resolve(self, clock: Clock) -> Schedule:
        """Return the schedule with counts, checked against *clock*."""

    @abstractmethod
    def _fixed(self, clock: Clock) -> int | None:
        """Return the steps that the schedule lasts on its own account; None where it takes what is left."""

    @abstractmethod
    def _values(self, steps: IntArray, base: Base) -> FloatArray:
        """Return the values of one block, shape ``(n,)``; *base* is a float or has the same shape."""

    # ---------------------------------------------------------------------------------------------------- evaluation

    def _at(self, steps: IntArray, base: Base) -> FloatArray:
        """Return the values at *steps*, shape ``(n,)``, block by block."""
        values = np.empty(len(steps), dtype=np.float64)
        for start in range(0, len(steps), BLOCK):
            here = slice(start, start + BLOCK)
            block = steps[here]
            bases = base[here] if isinstance(base, np.ndarray) else base
            if missing := -len(block) % LANES:
                block = np.concatenate([block, block[-1:].repeat(missing)])
                if isinstance(bases, np.ndarray):
                    bases = np.concatenate([bases, bases[-1:].repeat(missing)])
            computed = self._values(block, bases)
            values[here] = computed[: len(computed) - missing]
        return values


def _builtin(value: Any) -> Any:
    """Return NumPy numbers as Python's and lists as tuples, so that reprs can be pasted and data written as JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return tuple(_builtin(item) for item in value)
    return value


def _operand(sign: str, left: Schedule, right: object) -> Schedule:
    if not isinstance(right, Schedule):
        raise TypeError(
            f"{type(left).__name__} {sign} {right!r}: a schedule combines with a schedule, "
            f"got {type(right).__name__}; wrap a function as Function(fn), a number as Constant(factor)."
        )
    return right

"""A user's own function of the step."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .base import Base, FloatArray, IntArray
from .curve import Curve

__all__ = ["Function", "import_path"]


@dataclass(frozen=True, repr=False)
class Function(Curve):
    r"""The base times a function of the step, without end.

    .. math:: \eta_t = f(t) \, \eta

    The function must be pure: the value at a step is asked for at any time, in any order, also before the run.

    Args:
        fn: ``fn(step) -> factor`` with an int; or its name as ``"package.module:function"``, which is what goes into
            plain data (a lambda has no such name, so it works everywhere but there).
        vectorized: the function takes an int64 array of shape ``(n,)`` and returns ``(n,)`` factors. Without this it is
            called once per step, about a second for two million steps.

    Raises:
        TypeError: *fn* is not callable, or returns no number.
        ValueError: *fn* cannot be imported; a factor is negative or not finite; or the returned shape is wrong.

    Source: ``torch.optim.lr_scheduler.LambdaLR``, of which this is the description.

    >>> Function(lambda step: 0.95**step).value(2, base=1.0)
    0.9025
    >>> Function("math:sqrt").value(np.array([0, 4, 9]), base=1.0)
    array([0., 2., 3.])
    """

    fn: Callable[[Any], Any] | str
    vectorized: bool = False

    name: ClassVar[str] = "function"
    durations: ClassVar[tuple[str, ...]] = ()
    span: ClassVar[str | None] = None

    def _check(self) -> None:
        if isinstance(self.fn, str):
            object.__setattr__(self, "fn", _imported(self.fn))
        if not callable(self.fn):
            raise TypeError(
                f"Function: fn={self.fn!r} is not callable; pass a function of the step, or its import path."
            )

    def __repr__(self) -> str:
        path = import_path(self.fn)
        code = getattr(self.fn, "__code__", None)
        place = f"<{code.co_name} at {code.co_filename}:{code.co_firstlineno}>" if code else repr(self.fn)
        more = [f", {name}={value!r}" for name, value, default in self._options() if value != default]
        return f"Function({place if path is None else repr(path)}{''.join(more)})"

    def _options(self) -> list[tuple[str, object, object]]:
        return [
            ("vectorized", self.vectorized, False),
            ("every", self.every, "step"),
            ("steps_per_epoch", self.steps_per_epoch, None),
        ]

    def _curve(self, t: IntArray, base: Base) -> FloatArray:
        assert callable(self.fn)
        # A block is filled up with copies of its last step, which need not be computed again.
        steps, places = np.unique(t, return_inverse=True)
        if self.vectorized:
            factors = np.asarray(self.fn(steps), dtype=np.float64)
            if factors.shape != steps.shape:
                raise ValueError(
                    f"{self!r}: got factors of shape {factors.shape} for steps of shape {steps.shape}; a vectorized "
                    "function returns one factor per step."
                )
        else:
            factors = np.array([self._factor(step) for step in steps.tolist()], dtype=np.float64)
        wrong = ~(np.isfinite(factors) & (factors >= 0.0))
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(
                f"{self!r}: the factor at step {steps[first]} is {factors[first]}; it must be finite and >= 0."
            )
        return base * factors[places]

    def _factor(self, step: int) -> float:
        assert callable(self.fn)
        factor = self.fn(step)
        if not hasattr(factor, "__float__"):
            raise TypeError(f"{self!r}: the factor at step {step} is {factor!r}; the function must return a number.")
        return float(factor)


def import_path(fn: object) -> str | None:
    """Return ``"module:name"`` where importing it gives *fn* again, else None."""
    path = f"{getattr(fn, '__module__', None)}:{getattr(fn, '__qualname__', None)}"
    try:
        return path if _imported(path) is fn else None
    except ValueError:
        return None


def _imported(path: str) -> object:
    module, _, name = path.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"Function: fn={path!r} cannot be imported ({error}); write it as 'package.module:function'."
        ) from error
    return found

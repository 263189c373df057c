"""Judging the recorded losses and gradients at a flush, by the run's guard."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .guard import Guard
from .history import Array
from .latch import Latch
from .recorder import Window

if TYPE_CHECKING:
    from .run import Run

__all__ = ["Spoiled", "Watch"]

_BETA = 0.98
_SHOWN = 8


class Spoiled(Exception):
    """An update that the guard wants undone: its step, its epoch and its batches, and the report."""

    def __init__(self, step: int, epoch: int, batches: tuple[int, int], report: str) -> None:
        super().__init__(report)
        self.step, self.epoch, self.batches = step, epoch, batches


@dataclass
class Averages:
    """Exponential averages of the losses and of their distances from the average; spikes stay out."""

    mean: float = 0.0
    spread: float = 0.0
    count: int = 0

    def is_spike(self, loss: float, guard: Guard) -> bool:
        """Whether *loss* is one; takes it in where it is not.

        >>> averages, guard = Averages(), Guard(spike=3.0, after=2)
        >>> [averages.is_spike(loss, guard) for loss in (1.0, 2.0, 1.5, 9.0, 1.4)]
        [False, False, False, True, False]
        """
        assert guard.spike is not None
        if self.count >= guard.after and loss > self.mean + guard.spike * self.spread:
            return True
        self.count += 1
        rate = max(1 - _BETA, 1 / self.count)
        self.spread += rate * (abs(loss - self.mean) - self.spread) if self.count > 1 else 0.0
        self.mean += rate * (loss - self.mean)
        return False


class Watch:
    """What the guard of one run has seen.

    Attributes:
        skipped: (epoch, batch) of batches that a rollback left out.
        rollbacks: so many there were.
        factor: on every rate, of all rollbacks together.
        latch: what skips updates on the device, or None.
    """

    def __init__(self, guard: Guard, latch: Latch | None = None) -> None:
        self.guard = guard
        self.latch = latch
        self.averages = Averages()
        self.skipped: set[tuple[int, int]] = set()
        self.rollbacks = 0
        self.factor = 1.0
        self._told = False

    def judge(self, run: Run, block: dict[str, Array], window: Window, *, may_raise: bool) -> NDArray[np.bool_]:
        """Return which updates of the window were skipped, shape **(T,)**, bool; note and act upon what is bad.

        Raises:
            FloatingPointError: the policy is to raise.
            Spoiled: the policy is to roll back.
        """
        losses, counted = block["loss"], block["weight"] != 0
        bad_loss = ~np.isfinite(losses) & counted
        # fp16 skips updates whose scaled gradients overflow, and that is how it finds its scale.
        bad_norm = ~np.isfinite(block["grad_norm"]) & window.has_norm & (run.precision.scaler is None)
        skipped = np.zeros(len(losses), bool) if window.skipped is None else window.skipped
        spike = skipped & ~bad_loss & ~bad_norm
        if self.latch is None and self.guard.spike is not None:
            for index in np.flatnonzero(~bad_loss & counted):
                spike[index] = self.averages.is_spike(float(losses[index]), self.guard)
        for index in np.flatnonzero(bad_loss | bad_norm | spike):
            kind = "non-finite loss" if bad_loss[index] else "non-finite gradient" if bad_norm[index] else "loss spike"
            report = self._report(run, kind, block, window, int(index))
            step = int(block["step"][index])
            if skipped[index]:
                run.history.event(step, kind, f"{report}; the update was skipped")
                self._tell(report)
            elif may_raise:
                run.history.event(step, kind, report)
                if self.guard.policy == "rollback":
                    raise Spoiled(step, int(block["epoch"][index]) - 1, window.batches[index], report)
                raise FloatingPointError(
                    f"fit: {report}. The rate may be too high or an input out of range; lower lr, clip gradients "
                    "(clip_norm=1.0), or look at history['loss'] before that step."
                )
        return skipped

    def _tell(self, report: str) -> None:
        if not self._told:
            warnings.warn(f"fit: {report}; the update was skipped (the events name any others).", stacklevel=5)
        self._told = True

    def _report(self, run: Run, kind: str, block: dict[str, Array], window: Window, index: int) -> str:
        """Return step, batch, rows, first bad parameter, and how late it was noticed."""
        step, epoch = int(block["step"][index]), int(block["epoch"][index])
        if kind == "non-finite gradient":
            what = f"the norm of the gradients was {block['grad_norm'][index]:g}"
        else:
            what = f"the loss was {block['loss'][index]:g}"
        if kind == "loss spike":
            what += ", a spike,"
        late = run.step - step
        first, last = window.batches[index]
        batches = f"batch {first}" if last - first <= 1 else f"batches {first} to {last - 1}"
        name = self._parameter(run, window, index)
        return (
            f"{what} at step {step} (noticed at step {run.step}, {late} updates late), epoch {epoch}, {batches}, "
            f"{_rows(run, epoch - 1, first, last)}; {name}"
        )

    def _parameter(self, run: Run, window: Window, index: int) -> str:
        if window.first_bad is None:
            return "only the whole gradient's norm is known" if window.has_norm[index] else "no gradient was looked at"
        position = int(window.first_bad[index])
        if position < 0:
            return "every gradient was finite"
        names = {id(param): name for name, param in run.module.named_parameters()}
        param = run.stepper.present[position]
        return f"the first gradient that is not finite is that of {names.get(id(param), f'parameter {position}')}"

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        averages = self.averages
        return {
            "averages": [averages.mean, averages.spread, averages.count],
            "skipped": [list(pair) for pair in sorted(self.skipped)],
            "rollbacks": self.rollbacks,
            "factor": self.factor,
            "latch": None if self.latch is None else self.latch.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` returned."""
        self.averages = Averages(*state["averages"])
        self.skipped = {(int(epoch), int(batch)) for epoch, batch in state["skipped"]}
        self.rollbacks, self.factor = int(state["rollbacks"]), float(state["factor"])
        if self.latch is not None and state["latch"] is not None:
            self.latch.load_state(state["latch"])


def _rows(run: Run, epoch: int, first: int, last: int) -> str:
    try:
        rows = [row for index in range(first, last) for row in run.source.rows_of(epoch, index).tolist()]
    except TypeError:
        return "rows unknown, because a loader draws its own"
    shown = ", ".join(map(str, rows[:_SHOWN]))
    return f"rows {shown}" + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")

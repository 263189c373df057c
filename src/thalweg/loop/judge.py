"""Judging the recorded losses and gradients at a flush, by the run's guard."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from .history import Array
from .recorder import Window
from .run import Run
from .watch import Spoiled, Watch

__all__ = ["judge"]

_SHOWN = 8


def judge(run: Run, block: dict[str, Array], window: Window, *, may_raise: bool) -> NDArray[np.bool_]:
    """Return which updates of the window were skipped, shape **(T,)**, bool; note and act upon what is bad.

    Raises:
        FloatingPointError: the policy is to raise.
        Spoiled: the policy is to roll back.
    """
    watch = run.watch
    losses, counted = block["loss"], block["weight"] != 0
    bad_loss = ~np.isfinite(losses) & counted
    # fp16 skips updates whose scaled gradients overflow, and that is how it finds its scale.
    bad_norm = ~np.isfinite(block["grad_norm"]) & window.has_norm & (run.precision.scaler is None)
    skipped = np.zeros(len(losses), bool) if window.skipped is None else window.skipped
    spike = skipped & ~bad_loss & ~bad_norm
    if watch.latch is None and watch.guard.spike is not None:
        for index in np.flatnonzero(~bad_loss & counted):
            spike[index] = watch.averages.is_spike(float(losses[index]), watch.guard)
    for index in np.flatnonzero(bad_loss | bad_norm | spike):
        kind = "non-finite loss" if bad_loss[index] else "non-finite gradient" if bad_norm[index] else "loss spike"
        report = _report(run, kind, block, window, int(index))
        step = int(block["step"][index])
        if skipped[index]:
            run.history.event(step, kind, f"{report}; the update was skipped")
            _tell(watch, report)
        elif may_raise:
            run.history.event(step, kind, report)
            if watch.guard.policy == "rollback":
                raise Spoiled(step, int(block["epoch"][index]) - 1, window.batches[index], report)
            raise FloatingPointError(
                f"fit: {report}. The rate may be too high or an input out of range; lower lr, clip gradients "
                "(clip_norm=1.0), or look at history['loss'] before that step."
            )
    return skipped


def _tell(watch: Watch, report: str) -> None:
    if not watch.told:
        warnings.warn(f"fit: {report}; the update was skipped (the events name any others).", stacklevel=5)
    watch.told = True


def _report(run: Run, kind: str, block: dict[str, Array], window: Window, index: int) -> str:
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
    name = _parameter(run, window, index)
    return (
        f"{what} at step {step} (noticed at step {run.step}, {late} updates late), epoch {epoch}, {batches}, "
        f"{_rows(run, epoch - 1, first, last)}; {name}"
    )


def _parameter(run: Run, window: Window, index: int) -> str:
    if window.first_bad is None:
        return "only the whole gradient's norm is known" if window.has_norm[index] else "no gradient was looked at"
    position = int(window.first_bad[index])
    if position < 0:
        return "every gradient was finite"
    names = {id(param): name for name, param in run.module.named_parameters()}
    param = run.stepper.present[position]
    return f"the first gradient that is not finite is that of {names.get(id(param), f'parameter {position}')}"


def _rows(run: Run, epoch: int, first: int, last: int) -> str:
    try:
        rows = [row for index in range(first, last) for row in run.source.rows_of(epoch, index).tolist()]
    except TypeError:
        return "rows unknown, because a loader draws its own"
    shown = ", ".join(map(str, rows[:_SHOWN]))
    return f"rows {shown}" + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")

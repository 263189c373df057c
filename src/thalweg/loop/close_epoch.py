"""The end of an epoch: flush, validate, write the row."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np

from thalweg.errors import unknown_name

from .evaluate import evaluate
from .history import Array
from .judge import judge as judge_window
from .run import Run

__all__ = ["close_epoch", "flush"]


def flush(run: Run, *, judge: bool = True) -> dict[str, Array]:
    """Bring recorded values to the host and to the run directory, and let the guard judge them.

    Raises:
        FloatingPointError: a loss or gradient was not finite, or a loss a spike, and the guard's policy is to raise;
            naming the first bad step and how many updates later it was noticed.
    """
    block = run.recorder.flush()
    if not block:
        return block
    for step, line in run.rates.changes(int(block["step"][0]) - 1, run.step):
        run.history.event(step, "rate", line)
    if run.directory is not None:
        run.directory.append_steps(block)
    for logger in run.loggers:
        logger.steps(block)
    skipped = judge_window(run, block, run.recorder.window, may_raise=judge)
    # A replaced step that returned nothing weighs nothing, nor does an update that was skipped.
    counted = (block["weight"] != 0) & ~skipped
    add_up(
        run,
        block["epoch"].astype(np.int64),
        np.where(counted, block["loss"] * block["weight"], 0.0),
        np.where(counted, block["weight"], 0.0),
    )
    return block


def add_up(run: Run, epochs: np.ndarray[Any, np.dtype[np.int64]], sums: Array, weights: Array) -> None:
    """Add losses to their epochs' totals, and finish the rows of epochs that nobody waited for."""
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        mine = epochs == epoch
        # One after the other, so that the sum does not depend on where a flush happened to fall.
        run.epoch_sum = float(np.cumsum(np.concatenate([[run.epoch_sum], sums[mine]]))[-1])
        run.epoch_weight = float(np.cumsum(np.concatenate([[run.epoch_weight], weights[mine]]))[-1])
        if run.pending and run.pending[0]["epoch"] == epoch:
            finish_row(run)


def leave_row(run: Run, seconds: float) -> None:
    """Leave the finished epoch's row to the next flush; where that has been, nothing is left to wait for."""
    run.pending.append({"epoch": run.epoch, "step": run.step, "seconds": seconds})
    if not len(run.recorder):
        finish_row(run)


def finish_row(run: Run) -> None:
    """Append the oldest row that was left, now that its epoch's losses are all there."""
    row = run.pending.pop(0)
    row["loss"] = take_mean(run)
    row["seconds"] = row.pop("seconds")  # last, as in a row that was not left
    run.history.epochs.append(row)


def take_mean(run: Run) -> float:
    """Return the epoch's mean loss over rows, and begin the next epoch's."""
    mean = run.epoch_sum / run.epoch_weight if run.epoch_weight else 0.0
    run.epoch_sum = run.epoch_weight = 0.0
    return mean


def close_epoch(run: Run, seconds: float) -> dict[str, float]:
    """Validate, append the epoch's row to the history, let controllers and hooks see it; return the row."""
    row: dict[str, float] = {
        "epoch": run.epoch,
        "step": run.step,
        "loss": take_mean(run),
    }
    run.stepper.settle()
    if run.valid is not None:
        weights = nullcontext() if run.before_evaluation is None else run.before_evaluation()
        with weights:
            values = evaluate(run.valid_objective, run.valid, run.metrics, run.precision, processes=run.processes)
        row.update({f"val_{name}": value for name, value in values.items()})
    row["seconds"] = seconds
    for line in run.rates.observe(row):
        run.history.event(run.step, "rate", line)
    step_driver(run, row)
    run.history.epochs.append(row)
    if run.directory is not None:
        run.directory.write_epochs(run.history)
    for logger in run.loggers:
        logger.epoch(row)
    run.call("on_epoch_end", row)
    return row


def step_driver(run: Run, row: dict[str, float]) -> None:
    """Step a torch scheduler that goes by epochs, and note a change of the rate.

    Raises:
        ValueError: it wants a metric that the row has not.
    """
    driver = run.driver
    if driver is None or driver.every != "epoch":
        return
    if driver.needs_metric and driver.monitor not in row:
        raise unknown_name(type(driver.scheduler).__name__, "monitored metric", driver.monitor, row)
    before = driver.rates
    driver.step(row.get(driver.monitor))
    if driver.rates != before:
        run.history.event(run.step, "rate", f"lr is now {driver.rates[-1]:.6g} (was {before[-1]:.6g})")

"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import time
import warnings

from .checkpoints import Checkpoints
from .close_epoch import close_epoch, flush, leave_row
from .history import History
from .hooks import Hook, replaces_step
from .interrupt import interruptible
from .logging_run import logging
from .modes import train_mode
from .progress import Progress
from .replaced import record_replaced
from .rollback import rolling_back
from .run import Run

__all__ = ["fit"]


def fit(run: Run) -> History:
    """Train until ``settings.epochs`` epochs are done or something asks for an end; return the history.

    ``run.step``, ``run.epoch`` and ``run.batch`` say where to begin, so a resumed run is the same call.

    Raises:
        FloatingPointError: a loss or gradient was not finite and the guard's policy is to raise; the message names the
            step, its rows and the first bad parameter.
        KeyboardInterrupt: after Ctrl-C, once the present step is done and, with a run directory, saved.
    """
    with interruptible(run) as interruption, logging(run), Progress(run) as progress, Checkpoints(run) as checkpoints:
        run.call("on_fit_begin")
        if run.is_changed or (run.settings.guard.policy == "rollback" and run.step == 0):
            checkpoints.write()
        try:
            while run.epoch < run.settings.epochs and not run.stop_reason:
                with rolling_back(run, checkpoints):
                    one_epoch(run, progress, checkpoints)
            flush(run)
        finally:
            run.stepper.settle()
            flush(run, judge=False)
        if run.stop_reason:
            run.history.event(run.step, "stopped", run.stop_reason)
            if checkpoints.on:
                checkpoints.write()
            progress.stopped(run.stop_reason)
        run.call("on_fit_end")
    interruption.raise_again()
    return run.history


def one_epoch(run: Run, progress: Progress, checkpoints: Checkpoints) -> None:
    """Train the epoch that the run is in to its end, validate, and write its row; or leave it where it was stopped."""
    started = time.perf_counter()
    finished = train_epoch(run, progress, checkpoints)
    run.stepper.align()
    note_step(run)
    if run.is_watched or not finished:
        flush(run)
    if not finished:
        return
    run.epoch += 1
    run.batch = 0
    if not run.is_watched:
        leave_row(run, time.perf_counter() - started)
        return
    row = close_epoch(run, time.perf_counter() - started)
    progress.epoch(row)
    checkpoints.after_epoch(row)
    run.agree()


def train_epoch(run: Run, progress: Progress, checkpoints: Checkpoints) -> bool:
    """Make the updates of one epoch from batch ``run.batch`` on; return False if it was broken off."""
    settings, rates, stepper, left_out = run.settings, run.rates, run.stepper, run.watch.skipped
    accumulate = settings.accumulate
    replaced = next((hook for hook in run.hooks if replaces_step(hook)), None)
    listeners = [hook for hook in run.hooks if type(hook).on_step_end is not Hook.on_step_end]
    train_mode(run.objective.model, run.optimizer)
    run.call("on_epoch_begin")
    stepper.begin_epoch(alone=not listeners and replaced is None)
    held = 0
    for batch in run.source.batches(run.epoch, run.batch):
        run.batch += 1
        if left_out and (run.epoch, run.batch - 1) in left_out:
            continue
        if held == 0:
            run.window = run.batch - 1
            if rates.active:
                rates.apply(run.step)
        if replaced is not None:
            record_replaced(run, replaced.step(run, batch))
        else:
            stepper.micro(batch, accumulate)
            held += 1
            if held < accumulate:
                continue
            update(run)
            held = 0
        for hook in listeners:
            hook.on_step_end(run)
        if len(run.recorder) >= settings.flush_every:
            progress.step(flush(run))
        if checkpoints.each_step and checkpoints.due():
            flush(run)
            checkpoints.write()
        run.agree()
        if run.stop_reason:
            return False
    if held:  # the last window of the epoch, divided by what it holds
        update(run)
        for hook in listeners:
            hook.on_step_end(run)
    return True


def update(run: Run) -> None:
    """Make one update from the accumulated gradients and keep its values on the device."""
    stepper = run.stepper
    rates = run.rates.current()
    real = stepper.update()
    loss, weight = stepper.loss, stepper.weight  # of all processes together, once the update is made
    assert loss is not None, "an update follows at least one micro-batch"
    run.recorder.add(
        run.step + 1,
        run.epoch + 1,
        loss,
        weight,
        stepper.norms,
        rates,
        stepper.penalty,
        (run.window, run.batch),
        stepper.skipped,
    )
    stepper.clear()
    if real:
        run.step += 1
        if run.driver is not None and run.driver.every == "step":
            run.driver.step()


def note_step(run: Run) -> None:
    """Say once why a step is made otherwise than was planned: eagerly, or from smaller pieces, in whichever process."""
    notices = [run.stepper.notice]
    run.stepper.notice = ""
    if run.processes is not None:
        if not run.processes.any(bool(notices[0])):
            return
        notices = run.processes.gather(notices[0])
        notices = [f"process {rank}: {notice}" if notice else "" for rank, notice in enumerate(notices)]
    for notice in filter(None, notices):
        run.history.event(run.step, "step", notice)
        if run.processes is None or run.processes.is_first:
            warnings.warn(f"fit: {notice}", stacklevel=2)

"""From what a user asked for to a Run that the loop can execute."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.optim.lr_scheduler import LRScheduler

from thalweg import data as datas
from thalweg.data import Source
from thalweg.engine import RuleOptimizer
from thalweg.errors import did_you_mean, listing
from thalweg.loop import (
    EagerStep,
    EarlyStopping,
    History,
    Hook,
    Plan,
    Precision,
    Processes,
    RankStep,
    Rates,
    Recorder,
    Run,
    Settings,
    check_sharded,
    make_plan,
    memory,
    prepare_loss,
)
from thalweg.loop.averaging import averaging
from thalweg.loop.compiled import CompiledStep, auto_compiles
from thalweg.loop.hooks import replaces_step
from thalweg.loss import Loss
from thalweg.metric import is_token_loss
from thalweg.objective import Objective
from thalweg.schedule import TorchDriver, TorchSchedule

from .going_on import go_on, make_watch, open_directory
from .held import Held
from .resolve import make_schedules
from .sharing import share_out
from .tokens import Logits, choose_logits

__all__ = ["Sources", "assemble", "make_sources", "plan_of", "planned"]

_PREVIEWED = 100_000

Sources = tuple[Source, "Source | None"]


def make_sources(
    learner: Held,
    given: Any,
    valid: Any,
    *,
    validation_split: float,
    batch_size: int,
    shuffle: bool,
    drop_last: bool,
    seed: int,
) -> Sources:
    """Return the training and the validation source (or None).

    Raises:
        ValueError: both a validation set and a fraction are given.
    """
    settings: dict[str, Any] = {"seed": seed, "device": learner.device}
    if validation_split and valid is not None:
        raise ValueError(
            f"fit: validation_split={validation_split} and a validation set were both given; pass one of them."
        )
    if validation_split:
        return datas.split_fraction(
            given, validation_split, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, **settings
        )
    train = datas.source(given, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, **settings)
    # Nothing is kept for a backward pass, so validation takes batches twice as large (fastai's default too).
    held = None if valid is None else datas.source(valid, batch_size=2 * batch_size, shuffle=False, **settings)
    return train, held


def choose_step(learner: Held, settings: Settings, precision: Precision, total: int | None) -> tuple[str, str]:
    """Return ``"eager"`` or ``"compiled"``, and why.

    Raises:
        ValueError: a compiled step was asked for where there cannot be one.
    """
    if learner.step == "eager":
        return "eager", "asked for"
    pays, why = auto_compiles(learner.optimizer, total, settings.accumulate, precision)
    if Processes.present(learner.device) is not None:
        pays, why = False, "several processes exchange gradients within the step, which runs eagerly"
    if settings.guard.policy == "skip":
        pays, why = False, "guard='skip' decides about each update before it is made, which runs eagerly"
    if learner.step == "auto":
        return "compiled" if pays else "eager", why
    ours = isinstance(learner.optimizer, RuleOptimizer)
    alone = Processes.present(learner.device) is None
    eager = settings.accumulate > 1 or precision.scaler is not None or settings.guard.policy == "skip"
    if not ours or not alone or eager:
        raise ValueError(f"Learner: step='compiled' was asked for, but {why}; use step='auto' or 'eager'.")
    return "compiled", "asked for"


def make_stepper(
    learner: Held,
    objective: Objective,
    precision: Precision,
    rates: Rates,
    *,
    compiled: bool,
    shares: tuple[Processes | None, Source],
) -> EagerStep:
    """Return what makes the updates, eager or compiled."""
    optimizer = learner.optimizer
    ours = isinstance(optimizer, RuleOptimizer)
    if compiled and isinstance(optimizer, RuleOptimizer):
        return CompiledStep(objective, optimizer, precision, rates, strict=learner.step == "compiled")
    clip: dict[str, Any] = {
        "clip_norm": None if ours else learner.clip_norm,
        "clip_value": None if ours else learner.clip_value,
    }
    processes, source = shares
    if processes is not None:
        return RankStep(objective, optimizer, precision, processes=processes, source=source, **clip)
    return EagerStep(objective, optimizer, precision, **clip)


def make_driver(foreign: TorchSchedule | None, optimizer: Any) -> TorchDriver | None:
    """Return the driver of a torch scheduler on the optimizer, or None.

    Raises:
        TypeError: its class was given without the arguments it needs.
    """
    if foreign is None:
        return None
    try:
        return foreign.driver(optimizer)
    except TypeError as error:
        raise TypeError(
            f"schedule: torch's scheduler could not be made ({error}); give its arguments, as in "
            "tw.schedule.from_torch(StepLR, step_size=30)."
        ) from error


def updates_per_epoch(source: Source, accumulate: int) -> int | None:
    """Return the real updates in an epoch: a last window that is not full counts as one."""
    return None if source.steps_per_epoch is None else -(-source.steps_per_epoch // accumulate)


def _total(source: Source, settings: Settings) -> int | None:
    per_epoch = updates_per_epoch(source, settings.accumulate)
    return None if per_epoch is None else per_epoch * settings.epochs


def assemble(
    learner: Held,
    sources: Sources,
    settings: Settings,
    *,
    schedule: Any,
    hooks: Sequence[Hook],
    early_stopping: EarlyStopping | int | None,
    run_dir: Path | str | None,
    resume: tuple[Path, dict[str, Any]] | None,
    seed: int,
) -> tuple[Run, Plan]:
    """Return a run that is checked, planned, and set to where it begins."""
    if settings.change and resume is None:
        raise ValueError(f"fit: change={list(settings.change)} is about a run that is gone on with; pass resume too.")
    if settings.loggers and run_dir is None and resume is None:
        raise ValueError(f"fit: loggers={list(settings.loggers)} write into the run directory; pass run_dir too.")
    source, valid = sources
    stopping = EarlyStopping(patience=early_stopping) if isinstance(early_stopping, int) else early_stopping
    all_hooks = [*hooks, *([stopping] if stopping is not None else [])]
    _check_hooks(all_hooks, learner, settings, valid, source)
    check_sharded(learner.optimizer)
    processes = Processes.present(learner.device)
    if processes is not None:
        source, valid, settings = share_out(processes, learner, settings, source, valid, all_hooks)
    precision = Precision(learner.precision, learner.device)
    replaced = next((hook for hook in all_hooks if replaces_step(hook)), None)
    logits = Logits(None, "", "")
    if replaced is None:
        loss, output, target = prepare_loss(learner.loss, learner.module, source, precision)
        logits = choose_logits(learner, loss, source, precision)
    else:  # what the step does with a batch, with or without targets, is its own affair
        source.check()
        loss = learner.loss
    if settings.accumulate > 1:
        loss.require_splittable(f"accumulate={settings.accumulate}")
    per_epoch, total = updates_per_epoch(source, settings.accumulate), _total(source, settings)
    if isinstance(learner.optimizer, RuleOptimizer):
        learner.optimizer.expect(total)
    chosen = choose_step(learner, settings, precision, total)
    compiled = chosen[0] == "compiled"
    # The compiled step traces the plain module; torch.compile's wrapper would be traced through a second time.
    objective = Objective(learner.module if compiled else learner.model, loss, learner.penalty, logits.head)
    valid_objective = objective
    metrics: dict[str, Any] = {}
    if valid is not None:
        valid_loss, output, target = prepare_loss(learner.loss, learner.module, valid, precision)
        valid_objective = Objective(learner.model, valid_loss, learner.penalty, logits.head)
        metrics = learner.make_metrics(output, target, valid_loss)
    schedules, foreign = make_schedules(schedule, total, per_epoch)
    rates = Rates(learner.optimizer, schedules)
    history = History()
    if logits.notice:
        history.event(0, "logits", logits.notice)
        warnings.warn(f"fit: {logits.notice}", stacklevel=3)
    recorder = Recorder(history, rates.names)
    stepper = make_stepper(learner, objective, precision, rates, compiled=compiled, shares=(processes, source))
    kept = run_dir is not None or resume is not None
    is_replaced = replaced is not None
    watch = make_watch(settings, learner.optimizer, precision, learner.module, replaced=is_replaced, kept=kept)
    stepper.latch = watch.latch
    if replaced is not None:
        chosen = ("replaced", f"by {type(replaced).__name__}.step")
    plan = plan_of(learner, source, settings, rates, total, per_epoch, foreign, chosen, loss, logits.why)
    directory = open_directory(run_dir, None if resume is None else resume[0], processes)
    run = Run(
        module=learner.module,
        objective=objective,
        valid_objective=valid_objective,
        optimizer=learner.optimizer,
        source=source,
        rates=rates,
        stepper=stepper,
        precision=precision,
        settings=settings,
        history=history,
        recorder=recorder,
        valid=valid,
        metrics=metrics,
        hooks=all_hooks,
        directory=directory,
        total_steps=total,
        driver=make_driver(foreign, learner.optimizer),
        seed=seed,
        watch=watch,
        processes=processes,
    )
    run.before_evaluation = averaging(run)
    try:
        if resume is not None:
            go_on(run, resume[1], str(resume[0]))
        if directory is not None:
            directory.start(plan.to_dict(), history)
    except BaseException:
        if directory is not None:
            directory.release()
        raise
    return run, plan


def _check_hooks(
    hooks: Sequence[Hook], learner: Held, settings: Settings, valid: Source | None, source: Source
) -> None:
    stepping = [type(hook).__name__ for hook in hooks if isinstance(hook, Hook) and replaces_step(hook)]
    if len(stepping) > 1:
        raise ValueError(f"fit: {' and '.join(stepping)} both replace the step, and there is one; pass one of them.")
    for hook in hooks:
        if not isinstance(hook, Hook):
            raise TypeError(f"fit: {hook!r} is no hook; derive a class from tw.Hook and pass an instance of it.")
        if isinstance(hook, EarlyStopping) and hook.monitor.startswith("val_") and valid is None:
            raise ValueError(
                f"EarlyStopping: monitor={hook.monitor!r} needs validation data; pass valid=(X, y) or "
                "validation_split=0.2, or monitor 'loss'."
            )
        if isinstance(hook, EarlyStopping):
            names = ["loss", *([f"val_{n}" for n in ("loss", *learner.metric_names)] if valid is not None else [])]
            if hook.monitor not in names:
                raise ValueError(
                    f"EarlyStopping: monitor={hook.monitor!r} is not recorded.{did_you_mean(hook.monitor, names)} "
                    f"Known: {listing(names)}."
                )
        if replaces_step(hook) and settings.accumulate > 1:
            raise ValueError(
                f"fit: the hook {type(hook).__name__} replaces the step, so accumulate={settings.accumulate} has "
                "nothing to act on; accumulate inside the hook."
            )


def plan_of(
    learner: Held,
    source: Source,
    settings: Settings,
    rates: Rates,
    total: int | None,
    per_epoch: int | None,
    foreign: TorchSchedule | None,
    chosen: tuple[str, str],
    loss: Loss,
    logits: str = "",
) -> Plan:
    """Return the plan of a training with these parts; *chosen* is how a step is executed, and why."""
    optimizer = learner.optimizer
    ours = optimizer if isinstance(optimizer, RuleOptimizer) else None
    used = source.steps_per_epoch
    dropped = 0
    if source.n is not None and used is not None and source.batch_size is not None:
        dropped = max(0, source.n - used * source.batch_size)
    return make_plan(
        rates,
        total,
        optimizer,
        samples=source.n,
        batch_size=source.batch_size,
        accumulate=settings.accumulate,
        steps_per_epoch=per_epoch,
        epochs=settings.epochs,
        dropped_samples=dropped,
        engine=ours.engine.name if ours is not None else type(optimizer).__name__,
        engine_why=ours.engine_reason if ours is not None else "given by the user",
        step=chosen[0],
        step_why=chosen[1],
        precision=learner.precision,
        device=str(learner.device),
        memory=memory(learner.module, learner.rule, None if ours is None else ours.state_dtype),
        groups=learner.group_rows,
        rule=repr(learner.rule) if learner.rule is not None else type(optimizer).__name__,
        loss=repr(loss),
        logits=logits,
        schedule=_schedule_text(rates, foreign),
        foreign_rates=_preview(learner, foreign, total, per_epoch),
    )


def planned(
    learner: Held,
    given: Any,
    settings: Settings,
    *,
    batch_size: int,
    drop_last: bool,
    validation_split: float,
    schedule: Any,
) -> Plan:
    """Return the plan of a fit that is not run."""
    source, _ = make_sources(
        learner,
        given,
        None,
        validation_split=validation_split,
        batch_size=batch_size,
        shuffle=False,
        drop_last=drop_last,
        seed=0,
    )
    per_epoch, total = updates_per_epoch(source, settings.accumulate), _total(source, settings)
    schedules, foreign = make_schedules(schedule, total, per_epoch)
    if isinstance(learner.optimizer, RuleOptimizer):
        learner.optimizer.expect(total)
    chosen = choose_step(learner, settings, Precision(learner.precision, learner.device), total)
    rates = Rates(learner.optimizer, schedules)
    loss, why = learner.loss, ""
    if is_token_loss(loss):
        precision = Precision(learner.precision, learner.device)
        loss, _, _ = prepare_loss(loss, learner.module, source, precision)
        why = choose_logits(learner, loss, source, precision).why
    return plan_of(learner, source, settings, rates, total, per_epoch, foreign, chosen, loss, why)


def _schedule_text(rates: Rates, foreign: TorchSchedule | None) -> str:
    if foreign is not None:
        return f"torch's {getattr(foreign.factory, '__name__', type(foreign.factory).__name__)}"
    return ", ".join(f"{name}: {item!r}" for name, item in rates.schedules.items()) or "constant"


def _preview(
    learner: Held, foreign: TorchSchedule | None, total: int | None, per_epoch: int | None
) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Return the last group's rate over the run by stepping a copy of a torch scheduler; None where it cannot be known.

    A scheduler is a recursion, so looking ahead costs a call per step; past a hundred thousand it is not shown.
    """
    if foreign is None or total is None or per_epoch is None or isinstance(foreign.factory, LRScheduler):
        return None
    if total > _PREVIEWED:
        return None
    bases = [float(base["lr"]) for base in learner.bases]
    by_epoch = foreign.every == "epoch"
    rates = foreign.preview(bases, -(-total // per_epoch) if by_epoch else total)[:, -1]
    return np.repeat(rates, per_epoch)[:total] if by_epoch else rates

"""From what a user asked for to a Run that the loop can execute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    Rates,
    Recorder,
    Run,
    RunDirectory,
    Settings,
    make_plan,
    memory,
    restore,
)
from thalweg.loop.averaging import averaging
from thalweg.loop.compiled import CompiledStep, auto_compiles
from thalweg.objective import Objective
from .checks import prepare_loss
from .resolve import make_schedules

if TYPE_CHECKING:
    from .learner import Learner

__all__ = ["Sources", "assemble", "make_sources", "plan_of", "planned"]

Sources = tuple[Source, "Source | None"]


def make_sources(
    learner: Learner,
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


def make_stepper(
    learner: Learner, objective: Objective, precision: Precision, rates: Rates, settings: Settings, total: int | None
) -> tuple[EagerStep, str]:
    """Return what makes the updates, eager or compiled, and why it was chosen.

    Raises:
        ValueError: a compiled step was asked for where there cannot be one.
    """
    optimizer = learner.optimizer
    compiles, why = auto_compiles(optimizer, total, settings.accumulate, precision)
    if learner.step == "compiled":
        if not isinstance(optimizer, RuleOptimizer) or settings.accumulate > 1 or precision.scaler is not None:
            raise ValueError(f"Learner: step='compiled' was asked for, but {why}; use step='auto' or 'eager'.")
        compiles, why = True, "the whole step is compiled, as asked"
    if compiles and learner.step != "eager":
        assert isinstance(optimizer, RuleOptimizer), "auto_compiles takes only ours"
        return CompiledStep(objective, optimizer, precision, rates, strict=learner.step == "compiled"), why
    ours = isinstance(optimizer, RuleOptimizer)
    eager = EagerStep(
        objective,
        optimizer,
        precision,
        clip_norm=None if ours else learner.clip_norm,
        clip_value=None if ours else learner.clip_value,
    )
    return eager, "asked for" if learner.step == "eager" else why


def updates_per_epoch(source: Source, accumulate: int) -> int | None:
    """Return the real updates in an epoch: a last window that is not full counts as one."""
    return None if source.steps_per_epoch is None else -(-source.steps_per_epoch // accumulate)


def assemble(
    learner: Learner,
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
    source, valid = sources
    stopping = EarlyStopping(patience=early_stopping) if isinstance(early_stopping, int) else early_stopping
    all_hooks = [*hooks, *([stopping] if stopping is not None else [])]
    _check_hooks(all_hooks, learner, settings, valid, source)
    precision = Precision(learner.precision, learner.device)
    loss, output, target = prepare_loss(learner.loss, learner.module, source, precision)
    if settings.accumulate > 1:
        loss.require_splittable(f"accumulate={settings.accumulate}")
    objective = Objective(learner.model, loss, learner.penalty)
    valid_objective = objective
    metrics: dict[str, Any] = {}
    if valid is not None:
        valid_loss, output, target = prepare_loss(learner.loss, learner.module, valid, precision)
        valid_objective = Objective(learner.model, valid_loss, learner.penalty)
        metrics = learner.make_metrics(output, target)
    per_epoch = updates_per_epoch(source, settings.accumulate)
    total = None if per_epoch is None else per_epoch * settings.epochs
    schedules = make_schedules(schedule, total, per_epoch)
    rates = Rates(learner.optimizer, schedules)
    history = History()
    recorder = Recorder(history, rates.names)
    stepper, _ = make_stepper(learner, objective, precision, rates, settings, total)
    plan = plan_of(learner, source, settings, rates, total, per_epoch, schedules)
    directory = _directory(run_dir, None if resume is None else resume[0])
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
        seed=seed,
    )
    run.before_evaluation = averaging(run)
    if resume is not None:
        _go_on(run, resume[1], str(resume[0]))
    if directory is not None:
        directory.start(plan.to_dict(), history)
    return run, plan


def _directory(run_dir: Path | str | None, resume: Path | None) -> RunDirectory | None:
    """Return the run directory: the one named, else the one that is resumed, else none."""
    if run_dir is not None:
        same = resume is not None and Path(run_dir).resolve() == _run_of(resume).resolve()
        return RunDirectory(run_dir, resume=same)
    return None if resume is None else RunDirectory(_run_of(resume), resume=True)


def _run_of(path: Path) -> Path:
    """Return the run directory that a checkpoint folder lies in, or the path itself."""
    return path.parent.parent if path.parent.name == "checkpoints" else path


def _go_on(run: Run, tree: dict[str, Any], where: str) -> None:
    restore(run, tree, f"resume {where}")
    if run.epoch >= run.settings.epochs:
        raise ValueError(
            f"resume {where}: the run has finished its {run.epoch} epochs and epochs={run.settings.epochs} were asked "
            "for in all; ask for more epochs to go on."
        )


def _check_hooks(
    hooks: Sequence[Hook], learner: Learner, settings: Settings, valid: Source | None, source: Source
) -> None:
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
        if hasattr(hook, "step") and settings.accumulate > 1:
            raise ValueError(
                f"fit: the hook {type(hook).__name__} replaces the step, so accumulate={settings.accumulate} has nothing "
                "to act on; accumulate inside the hook."
            )


def plan_of(
    learner: Learner,
    source: Source,
    settings: Settings,
    rates: Rates,
    total: int | None,
    per_epoch: int | None,
    schedules: dict[str, Any],
) -> Plan:
    """Return the plan of a training with these parts."""
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
        precision=learner.precision,
        device=str(learner.device),
        memory=memory(learner.module, learner.rule),
        groups=learner.group_rows,
        rule=repr(learner.rule) if learner.rule is not None else type(optimizer).__name__,
        loss=repr(learner.loss),
        schedule=", ".join(f"{name}: {item!r}" for name, item in schedules.items()) or "constant",
    )


def planned(
    learner: Learner,
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
    per_epoch = updates_per_epoch(source, settings.accumulate)
    total = None if per_epoch is None else per_epoch * settings.epochs
    schedules = make_schedules(schedule, total, per_epoch)
    return plan_of(learner, source, settings, Rates(learner.optimizer, schedules), total, per_epoch, schedules)

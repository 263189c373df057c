"""The race, from what a user asked for to its result."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from .. import loss as losses
from ..checkpoint import restore_rng, snapshot_rng
from ..draw import Bar
from ..errors import check_number, unknown_name
from ..loop import Precision, Processes, Run, check_unshared, spreading
from ..loop.interrupt import interruptible
from ..loss import Penalty
from .candidate import Candidate
from .choose import Choice, Stacking, Stepping, choose_lanes
from .entry import Entry, make_entry
from .halving import Halving, rungs
from .progress import Progress
from .result import RaceResult
from .runner import Member, Runner
from .spread import meeting, own_numbers
from .storing import Store, race_key, restore

__all__ = ["race"]

_MARKS = 20  # validations of a training at most, rungs aside
_SAMPLE = 8  # updates of every lane by which minutes are turned into updates

Rank = Literal["auto", "valid", "train"]


def race(
    model: nn.Module | Callable[[], nn.Module],
    data: Any,
    valid: Any = None,
    candidates: Sequence[Candidate] = (),
    *,
    loss: Any = "mse",
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int = 64,
    shuffle: bool = True,
    drop_last: bool = False,
    validation_split: float = 0.0,
    halving: Halving | float | None = None,
    rank: Rank = "auto",
    penalty: Penalty | None = None,
    no_decay: str | Sequence[str] | None = "auto",
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    precision: str = "fp32",
    device: str | torch.device | None = None,
    seed: int = 0,
    stacking: Stacking = "auto",
    step: Stepping = "auto",
    resume: Path | str | None = None,
    verbose: bool = True,
) -> RaceResult:
    r"""Train all candidates on the same data, stacked where that is faster, and say who is best.

    Member *k* follows :math:`w_k \leftarrow U_k(w_k, \nabla E(w_k))` as it would alone; members of one structure
    stand on a leading dimension, so that one computation advances all of them.

    Args:
        model: a module, which is not trained itself; or a function that makes one, called under each seed.
        data: training data in any form that a learner takes.
        valid: validation data, by whose loss candidates are compared; None compares smoothed training losses.
        candidates: from :func:`grid`, or a list of :class:`Candidate`; no two alike.
        loss: a name, a Thalweg loss, a torch loss module or a callable; validation is always by this one.
        epochs, steps, minutes: the length of a whole training in passes or updates, or of the race by the clock (as
            many updates as are expected to fit; the race ends on time). One of them; one epoch if none is given.
        batch_size, shuffle, drop_last, validation_split: as for a learner's ``fit``.
        halving: successive halving, by its factor or a :class:`Halving`; None: all go to the end.
        rank: ``"valid"``, ``"train"`` (smoothed training loss), or ``"auto"``: by validation where there is any.
        penalty: added to every loss.
        no_decay, overrides: as for a learner: which parameters take no decay, or settings of their own.
        precision: ``"fp32"``; others run one after the other.
        device: where to; None: where the model is.
        seed: of the shared batches, and of dropout where a candidate has no seed.
        stacking: ``"auto"`` measures a few updates and takes what is faster, ``"always"`` or ``"never"``.
        step: ``"eager"``, ``"compiled"``, or ``"auto"``: compiled where the race is long enough to pay.
        resume: a directory that keeps the race's state, from which an interrupted race goes on.
        verbose: show a progress bar.

    Returns:
        a :class:`RaceResult`.

    Raises:
        ValueError: no candidates, two that are alike, a budget too small for one rung, data and model that do not fit,
            a hyperparameter out of range.
        KeyboardInterrupt: after Ctrl-C; with *resume*, the same call goes on.

    >>> import torch, thalweg as tw
    >>> _ = torch.manual_seed(0)
    >>> X = torch.randn(256, 4); y = X @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    >>> field = tw.race.grid(["sgd", "adam"], lr=[1e-3, 1e-1], seeds=3)
    >>> found = tw.race(torch.nn.Linear(4, 1), (X, y), (X, y), field, epochs=10, verbose=False)
    >>> print(found.winner.rule.lr, found.best.verdict, found.best.mean < 0.01)
    0.1 best True
    """
    _check_budget(epochs, steps, minutes)
    _check_candidates(candidates)
    if stacking not in ("auto", "always", "never"):
        raise unknown_name("race", "stacking", stacking, ("auto", "always", "never"))
    if step not in ("auto", "eager", "compiled"):
        raise unknown_name("race", "step", step, ("auto", "eager", "compiled"))
    if rank not in ("auto", "valid", "train"):
        raise unknown_name("race", "rank", rank, ("auto", "valid", "train"))
    if halving is not None and not isinstance(halving, Halving):
        halving = Halving(float(halving))
    generators = snapshot_rng()
    try:
        entry = _entry(
            model, data, valid, loss, penalty, precision, device, seed,
            batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, validation_split=validation_split,
            no_decay=no_decay, overrides=overrides,
        )  # fmt: skip
        _check_loss(entry, candidates)
        if rank == "valid" and entry.valid is None:
            raise ValueError("race: rank='valid' needs validation data; pass valid=(X, y) or validation_split=0.2.")
        by = "valid" if entry.valid is not None and rank != "train" else "train"
        choice = Choice(stacking, step)
        with warnings.catch_warnings():
            # Where an operation has no batching rule, members go through it one by one; what that costs is measured.
            warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")
            return _run(entry, candidates, by, halving, (epochs, steps, minutes), choice, resume, verbose)
    finally:
        restore_rng(*generators)


def _check_budget(epochs: int | None, steps: int | None, minutes: float | None) -> None:
    given = {"epochs": epochs, "steps": steps, "minutes": minutes}
    named = [f"{name}={value}" for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ValueError(f"race: {' and '.join(named)} are several budgets, and there is one; give one of them.")
    for name, value in (("epochs", epochs), ("steps", steps)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"race: {name}={value!r} must be a whole number.")
        if value is not None and value < 1:
            raise ValueError(f"race: {name}={value} is a budget too small for one rung; give at least 1.")
    if minutes is not None:
        check_number("race", "minutes", minutes, low=0.0, low_open=True)


def _check_candidates(candidates: Sequence[Candidate]) -> None:
    if not len(candidates):
        raise ValueError("race: the list of candidates is empty; make some with tw.race.grid(['sgd', 'adamw'], lr=…).")
    seen: dict[Any, int] = {}
    for number, candidate in enumerate(candidates):
        if not isinstance(candidate, Candidate):
            raise TypeError(
                f"race: candidate {number} is a {type(candidate).__name__}; pass tw.race.Candidate(optimizer=…), or "
                "candidates from tw.race.grid(…)."
            )
        key = (candidate.setting, candidate.seed, candidate.order)
        if key in seen:
            raise ValueError(
                f"race: candidates {seen[key]} and {number} are the same ({candidate}); the same training twice tells "
                "nothing new, so leave one out or give them different seeds."
            )
        seen[key] = number


def _check_loss(entry: Entry, candidates: Sequence[Candidate]) -> None:
    if hasattr(entry.loss, "label_smoothing"):
        return
    for candidate in candidates:
        if candidate.label_smoothing is not None:
            raise ValueError(
                f"race: {candidate} asks for label smoothing, which {type(entry.loss).__name__} has not; leave it out, "
                "or race with loss='cross_entropy'."
            )


def _entry(
    model: nn.Module | Callable[[], nn.Module],
    data: Any,
    valid: Any,
    loss: Any,
    penalty: Penalty | None,
    precision: str,
    device: str | torch.device | None,
    seed: int,
    **settings: Any,
) -> Entry:
    factory: Callable[[], nn.Module] | None = None
    if isinstance(model, nn.Module):
        module = model
    elif callable(model):
        factory = model
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = factory()
    else:
        raise TypeError(
            f"race: model={model!r} is a {type(model).__name__}; pass a Module or a function that makes one."
        )
    if not isinstance(module, nn.Module):
        raise TypeError(f"race: the function that makes the model returned a {type(module).__name__}; return a Module.")
    if next(module.parameters(), None) is None:
        raise ValueError(f"race: {type(module).__name__} has no parameters, so there is nothing to train.")
    if device is not None and next(module.parameters()).device != torch.device(device):
        module = _copied(module).to(device)
    place = next(module.parameters()).device
    return make_entry(
        module, factory, data, valid,
        loss=losses.make(loss), penalty=penalty, precision=Precision(precision, place), seed=seed, **settings,
    )  # fmt: skip


def _copied(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module)


def _run(
    entry: Entry,
    candidates: Sequence[Candidate],
    by: str,
    halving: Halving | None,
    budget: tuple[int | None, int | None, float | None],
    choice: Choice,
    resume: Path | str | None,
    verbose: bool,
) -> RaceResult:
    begun = time.monotonic()
    epochs, steps, minutes = budget
    members = [Member(number, candidate) for number, candidate in enumerate(candidates)]
    processes = spreading(next(entry.module.parameters()).device)
    own = own_numbers(len(members), processes)
    if processes is not None:
        _check_spread(entry, resume, len(members), processes)
    settings = len({candidate.setting for candidate in candidates})
    deadline = None if minutes is None else begun + 60 * minutes
    total = steps if steps is not None else (1 if epochs is None else epochs) * entry.per_epoch
    store = None if resume is None else Store(Path(resume), race_key(entry, candidates, (by, halving, budget)))
    kept = None if store is None else store.read()
    if kept is not None:  # what was timed then decides, not what would be timed now
        total = int(kept["total"])
    elif minutes is not None:
        total = _affordable(entry, [candidates[number] for number in own], halving, 60 * minutes, choice)
        total = total if processes is None else min(processes.gather(total))
    plan = rungs(settings, total, halving)
    lanes = [] if kept is not None else choose_lanes(entry, [candidates[n] for n in own], own, total, choice)
    runner = Runner(entry, members, lanes, plan, by, _marks(entry, total), choice, deadline)
    if kept is not None:
        restore(runner, kept, total)
    if store is not None:
        store.folder.mkdir(parents=True, exist_ok=True)
        runner.keep = store.keep
    if processes is not None:
        runner.meet = meeting(processes)
        verbose = verbose and processes.is_first
    request = _Request()
    runner.asked_to_stop = lambda: request.reason
    with Bar("racing", verbose) as bar, interruptible(cast(Run, request)) as interruption:
        runner.tell = Progress(bar, verbose).show
        runner.run()
    if store is not None:
        if interruption.signal is not None:
            store.write(runner)
        else:
            store.remove()
    interruption.raise_again()
    return RaceResult(
        members=members,
        by=by,
        steps=total,
        seconds=time.monotonic() - begun,
        notes=tuple(choice.notes),
        stopped=runner.stopped,
        entry=entry,
        weights=runner.weights,
    )


def _check_spread(entry: Entry, resume: Path | str | None, members: int, processes: Processes) -> None:
    for source in (entry.source, entry.valid):
        if source is not None:
            check_unshared("race", source)
    if resume is not None:
        raise ValueError(
            f"race: resume={str(resume)!r} keeps the state of one process, and {processes.world_size} share this race; "
            "leave resume out, or race in one process."
        )
    if members < processes.world_size:
        raise ValueError(
            f"race: {members} candidates do not go round {processes.world_size} processes; start fewer processes."
        )


class _Request:
    """What a signal leaves: why to stop."""

    reason = ""

    def stop(self, reason: str) -> None:
        """Ask for an end."""
        self.reason = self.reason or reason


def _marks(entry: Entry, total: int) -> list[int]:
    """Return the updates after which all are validated: the ends of epochs, thinned out to twenty."""
    if entry.valid is None:
        return []
    ends = [epoch * entry.per_epoch for epoch in range(1, total // entry.per_epoch + 1)]
    every = max(1, math.ceil(len(ends) / _MARKS))
    return [*ends[every - 1 :: every], *([] if ends and ends[-1] == total else [total])]


def _affordable(
    entry: Entry, candidates: Sequence[Candidate], halving: Halving | None, seconds: float, choice: Choice
) -> int:
    """Return the updates of a whole training of which the race is expected to fit into *seconds*.

    A few updates of all candidates are timed on copies; the estimate leaves a tenth for validation.

    Raises:
        ValueError: not one update of each fits.
    """
    begun = time.monotonic()
    lanes = choose_lanes(entry, candidates, range(len(candidates)), _SAMPLE, choice)
    spent = time.monotonic() - begun
    begun = time.monotonic()
    for lane in lanes:
        lane.advance(_SAMPLE)
    each = (time.monotonic() - begun) / _SAMPLE / len(candidates)
    left = 0.9 * (seconds - spent) / each
    settings = len({candidate.setting for candidate in candidates})
    per_setting = len(candidates) / settings
    low, high = 0, max(1, int(left))
    while low < high:  # the work grows with the length
        middle = (low + high + 1) // 2
        if _work(settings, middle, halving) * per_setting <= left:
            low = middle
        else:
            high = middle - 1
    if low < 1:
        raise ValueError(
            f"race: {seconds / 60:g} minutes are a budget too small for one rung: one update of all "
            f"{len(candidates)} candidates takes about {each * len(candidates):.2g} s; give more, or race fewer."
        )
    return low


def _work(settings: int, total: int, halving: Halving | None) -> float:
    """Return the updates of all settings together."""
    try:
        plan = rungs(settings, total, halving)
    except ValueError:
        return 0.0
    work, before, running = 0.0, 0, settings
    for rung in plan:
        work += running * (rung.step - before)
        before, running = rung.step, rung.keep
    return work

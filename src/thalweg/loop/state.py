"""Everything a run needs to go on: collected into a checkpoint, and put back."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from thalweg.checkpoint import load_newest, restore_rng, snapshot_rng, unflatten

from .changes import adopt_settings, keep_position, present_settings
from .history import History

if TYPE_CHECKING:
    from .run import Run

__all__ = ["check_model", "collect", "read_checkpoint", "restore"]

_STEP, _RANK = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F  # odd, so that steps and ranks have seeds of their own

#: The parts of a run's state; a checkpoint without one of them is none of a run.
PARTS = (
    *("seed", "model", "trainable", "optimizer", "optimizer_name", "scaler", "rates", "driver", "settings"),
    *("progress", "source", "hooks", "history", "guard", "rng"),
)


def collect(run: Run) -> dict[str, Any]:
    """Return the whole state of the run as one tree of tensors and plain data.

    Called between updates, so there is never a partial accumulation to keep: a stop waits for the window's end.
    """
    own = dict(zip(("tensors", "plain"), snapshot_rng(), strict=True)), run.stepper.pieces
    generators, pieces = zip(*([own] if run.processes is None else run.processes.gather(own)), strict=True)
    arrays, history = run.history.state()
    run.stepper.settle()
    return {
        "seed": run.seed,
        "model": dict(run.module.state_dict()),
        "trainable": {name: param.requires_grad for name, param in run.module.named_parameters()},
        "optimizer": _portable(run.optimizer.state_dict()),
        "optimizer_name": repr(getattr(run.optimizer, "rule", type(run.optimizer).__name__)),
        "scaler": run.precision.scaler.state_dict() if run.precision.scaler is not None else None,
        "rates": run.rates.state(),
        "driver": None if run.driver is None else run.driver.state_dict(),
        "settings": present_settings(run),
        "progress": {
            "step": run.step,
            "epoch": run.epoch,
            "batch": run.batch,
            "epoch_sum": run.epoch_sum,
            "epoch_weight": run.epoch_weight,
            "best": run.best,
        },
        "source": run.source.state(),
        "hooks": [[type(hook).__name__, *hook.state()] for hook in run.hooks],
        "history": {"arrays": arrays, "plain": history},
        "guard": run.watch.state(),
        "pieces": list(pieces),  # as the generators, of every process by rank
        "rng": list(generators),
    }


def _portable(state: dict[str, Any]) -> dict[str, Any]:
    """Return the optimizer's state without what has no form on disk (group entries that are objects)."""
    keep = (bool, int, float, str, list, tuple, dict, Tensor, type(None))
    groups = [
        {key: value for key, value in group.items() if isinstance(value, keep)} for group in state["param_groups"]
    ]
    return {**state, "param_groups": groups}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the newest whole state under *path* (a run directory or a checkpoint) as a tree.

    Of damaged checkpoints newer than it, a warning says what is wrong with them.

    Raises:
        ValueError: there is none, none is whole, or it is none of a run.
    """
    folder, tensors, plain, wrong = load_newest(path)
    for line in wrong:
        warnings.warn(f"{line.rstrip('.')} — taking the one before, {folder.name}.", stacklevel=2)
    try:
        tree: dict[str, Any] = unflatten(tensors, plain)
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise _not_a_run(folder, f"its state has another form: {error!r}") from error
    missing = [part for part in PARTS if part not in tree]
    if missing:
        raise _not_a_run(folder, f"it has no {', '.join(missing[:4])}")
    return tree


def _not_a_run(folder: Path, why: str) -> ValueError:
    return ValueError(
        f"resume: the checkpoint {folder} is none of a run ({why}); give a run directory, or one of its checkpoints."
    )


def check_model(module: nn.Module, stored: dict[str, Tensor], where: str) -> None:
    """Raise unless the stored tensors fit the module, naming what differs.

    Raises:
        ValueError: missing, surplus or differently shaped tensors.
    """
    own = module.state_dict()
    missing, surplus = [n for n in own if n not in stored], [n for n in stored if n not in own]
    shapes = [
        f"{name} is {tuple(stored[name].shape)} there and {tuple(own[name].shape)} here"
        for name in own
        if name in stored and stored[name].shape != own[name].shape
    ]
    problems = []
    if missing:
        problems.append(f"it lacks {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}")
    if surplus:
        problems.append(f"it has {', '.join(surplus[:5])}{' …' if len(surplus) > 5 else ''} besides")
    problems.extend(shapes[:5])
    if problems:
        raise ValueError(
            f"{where}: the checkpoint is of another model: {'; '.join(problems)}; build the same model first."
        )


def restore(run: Run, tree: dict[str, Any], where: str) -> list[str]:
    """Put everything back so that the next step is the one that would have come.

    Returns:
        one line for each setting that is another than the checkpoint's, as ``settings.change`` allows.

    Raises:
        ValueError: the checkpoint is of another model, rule or set of hooks; the message says what differs.
    """
    try:
        return _restore(run, tree, where)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"{where}: the checkpoint does not fit this run ({type(error).__name__}: {error}); it was changed by hand, "
            "or written by another version. Choose another one."
        ) from error


def _restore(run: Run, tree: dict[str, Any], where: str) -> list[str]:
    check_model(run.module, tree["model"], where)
    name = repr(getattr(run.optimizer, "rule", type(run.optimizer).__name__))
    if tree["optimizer_name"].split("(")[0] != name.split("(")[0]:
        raise ValueError(
            f"{where}: the checkpoint was trained with {tree['optimizer_name']}, this learner has {name}; "
            "use the same optimizer to resume, or load only the weights (learner.load_weights)."
        )
    stored = [entry[0] for entry in tree["hooks"]]
    mine = [type(hook).__name__ for hook in run.hooks]
    if stored != mine:
        raise ValueError(f"{where}: the checkpoint has the hooks {stored}, this fit has {mine}; pass the same ones.")
    lines = adopt_settings(run, tree["settings"], where)
    lines += put_back(run, tree, where)
    for hook, (_, tensors, plain) in zip(run.hooks, tree["hooks"], strict=True):
        hook.load_state(tensors, plain)
    history = History.load(tree["history"]["arrays"], tree["history"]["plain"])
    run.history.__dict__.update(history.__dict__)
    return lines + restore_generators(run, tree["rng"])


def restore_generators(run: Run, stored: list[dict[str, Any]]) -> list[str]:
    """Put back this process's generators; with another number of processes each begins anew, which is said."""
    if not (isinstance(stored, list) and stored and all(isinstance(one, dict) for one in stored)):
        raise TypeError("the generators' states are no list of one for each process")
    rank, world_size = _place(run)
    if len(stored) == world_size:
        restore_rng(stored[rank]["tensors"], stored[rank]["plain"])
        return []
    torch.manual_seed((run.seed + run.step * _STEP + rank * _RANK) % (1 << 62))
    return [f"processes: {world_size}, were {len(stored)}, so that dropout and the like draw anew from here"]


def put_back(run: Run, tree: dict[str, Any], where: str) -> list[str]:
    """Put back model, optimizer, rates, position and data; hooks, history and generators are left alone."""
    change = run.settings.change
    rates = [(bases.get("lr"), group.get("lr")) for bases, group in _rates(run)]
    run.module.load_state_dict(tree["model"])
    if "frozen" not in change:
        for name, param in run.module.named_parameters():
            param.requires_grad_(bool(tree["trainable"].get(name, param.requires_grad)))
    _load_optimizer(run.optimizer, tree["optimizer"])
    if run.precision.scaler is not None and tree["scaler"] is not None:
        run.precision.scaler.load_state_dict(tree["scaler"])
    run.rates.load_state(tree["rates"])
    if run.driver is not None and tree["driver"] is not None:
        run.driver.load_state_dict(tree["driver"])
    if "lr" in change:
        for (base, lr), (bases, group) in zip(rates, _rates(run), strict=True):
            group["lr"] = lr
            if "lr" in bases:
                bases["lr"] = base
    progress = tree["progress"]
    run.step, run.epoch, run.batch = progress["step"], progress["epoch"], progress["batch"]
    run.epoch_sum, run.epoch_weight = progress["epoch_sum"], progress["epoch_weight"]
    run.best = progress["best"]
    run.watch.load_state(tree["guard"])
    rank, world_size = _place(run)
    pieces = tree.get("pieces", [1])
    mine = pieces[rank] if len(pieces) == world_size else max(pieces, default=1)
    run.stepper.pieces = max(run.stepper.pieces, int(mine))  # after a rollback, memory is no larger than it was
    source, lines = keep_position(run, tree["settings"], tree["source"])
    run.source.load_state(source)
    return lines


def _place(run: Run) -> tuple[int, int]:
    """Return this process's rank, and how many there are."""
    return (0, 1) if run.processes is None else (run.processes.rank, run.processes.world_size)


def _rates(run: Run) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(zip(run.rates.bases, run.optimizer.param_groups, strict=True))


def _load_optimizer(optimizer: torch.optim.Optimizer, stored: dict[str, Any]) -> None:
    own = optimizer.state_dict()["param_groups"]
    # What has no form on disk (names, labels of objects) stays as it is here.
    groups = [{**mine, **theirs} for mine, theirs in zip(own, stored["param_groups"], strict=False)]
    optimizer.load_state_dict({**stored, "param_groups": groups})

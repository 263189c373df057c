"""Going back to the last good checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.checkpoint import checkpoints as folders_of
from thalweg.checkpoint import load, read_manifest, step_of, unflatten

from .state import put_back, restore_generators
from .watch import Spoiled

if TYPE_CHECKING:
    from .checkpoints import Checkpoints
    from .run import Run

__all__ = ["rolling_back"]


@contextmanager
def rolling_back(run: Run, checkpoints: Checkpoints) -> Iterator[None]:
    """Go back, where the guard found an update that is to be undone.

    Raises:
        FloatingPointError: there were too many, or there is nothing to go back to.
    """
    try:
        yield
    except Spoiled as spoiled:
        _roll_back(run, checkpoints, spoiled)


def _roll_back(run: Run, checkpoints: Checkpoints, spoiled: Spoiled) -> None:
    watch, guard, noticed = run.watch, run.watch.guard, run.step
    if watch.rollbacks >= guard.most:
        raise FloatingPointError(
            f"fit: {spoiled}. That is after {watch.rollbacks} rollbacks, the most that were allowed (Guard.most); "
            "lower lr, clip gradients (clip_norm=1.0), or look at those rows."
        ) from None
    checkpoints.wait()
    folder, tree = _last_good(run, spoiled)
    history, left_out, rollbacks, factor = run.history, watch.skipped, watch.rollbacks, watch.factor
    put_back(run, tree, f"rollback to {folder.name}")
    for hook, (_, tensors, plain) in zip(run.hooks, tree["hooks"], strict=True):
        hook.load_state(tensors, plain)
    restore_generators(run, tree["rng"])
    run.stepper.clear()
    run.optimizer.zero_grad(set_to_none=True)
    watch.skipped |= left_out | {(spoiled.epoch, batch) for batch in range(*spoiled.batches)}
    watch.rollbacks = rollbacks + 1
    run.rates.multiply("lr", factor * guard.cut / watch.factor)
    watch.factor = factor * guard.cut
    # The steps that are gone over again stay in the history beside their successors; an epoch has one row.
    history.epochs[:] = [row for row in history.epochs if row["step"] <= run.step]
    first, last = spoiled.batches
    left = f"batch {first}" if last - first == 1 else f"batches {first} to {last - 1}"
    history.event(
        noticed,
        "rollback",
        f"from step {noticed} to {folder.name}; lr times {guard.cut:g}; {left} of epoch {spoiled.epoch + 1} left out",
    )
    checkpoints.write()


def _last_good(run: Run, spoiled: Spoiled) -> tuple[Path, dict[str, Any]]:
    """Return the newest whole checkpoint without NaN from before the spoiled step, and its tree."""
    assert run.directory is not None, "a rollback was refused without a run directory"
    for folder in reversed(folders_of(run.directory.path)):
        if step_of(folder) >= spoiled.step:
            continue
        try:
            if read_manifest(folder)["facts"].get("finite"):
                return folder, unflatten(*load(folder))
        except ValueError:
            continue
    raise FloatingPointError(
        f"fit: {spoiled}. There is no whole checkpoint from before that step to go back to; write them more often "
        "(checkpoint_every='100 steps')."
    ) from None

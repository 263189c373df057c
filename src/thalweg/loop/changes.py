"""What may be different when a run is gone on with: named by the user, and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run

__all__ = ["adopt_settings", "keep_position", "present_settings"]


def present_settings(run: Run) -> dict[str, Any]:
    """Return what a checkpoint keeps of the settings, to tell a later change by."""
    return {
        "epochs": run.settings.epochs,
        "accumulate": run.settings.accumulate,
        "batch_size": run.source.batch_size,
        "total_steps": run.total_steps,
        "schedules": {name: repr(schedule) for name, schedule in run.rates.schedules.items()},
        "lr": [bases.get("lr", group.get("lr")) for bases, group in _groups(run)],
        "frozen": [name for name, param in run.module.named_parameters() if not param.requires_grad],
    }


def _groups(run: Run) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(zip(run.rates.bases, run.optimizer.param_groups, strict=True))


def adopt_settings(run: Run, stored: dict[str, Any], where: str) -> list[str]:
    """Return one line for each setting that differs from the checkpoint's.

    Raises:
        ValueError: one differs whose change was not asked for by name, or was asked for without differing in any way.
    """
    now, allowed, lines = present_settings(run), run.settings.change, []
    if now["epochs"] != stored["epochs"]:
        lines.append(f"epochs: {now['epochs']} in all, were {stored['epochs']}")
    for name in ("batch_size", "accumulate"):
        if now[name] != stored[name]:
            _require(name, allowed, where, f"{name}={stored[name]}", f"{name}={now[name]}")
            lines.append(f"{name}: {now[name]}, was {stored[name]}")
    if now["schedules"] != stored["schedules"]:
        same_length = now["total_steps"] == stored["total_steps"]
        before, after = _words(stored["schedules"]), _words(now["schedules"])
        if same_length or "schedule" in allowed:
            _require("schedule", allowed, where, before, after)
        lines.append(f"schedule: {after}, was {before}")
    if "lr" in allowed:
        if len(now["lr"]) != len(stored["lr"]):
            raise ValueError(
                f"{where}: the checkpoint has {len(stored['lr'])} param groups and this learner {len(now['lr'])}, so "
                "that it is not known which rate is whose; build the same groups first."
            )
        if now["lr"] != stored["lr"]:
            lines.append(f"lr: {_rates(now['lr'])}, was {_rates(stored['lr'])}")
    if "frozen" in allowed and now["frozen"] != stored["frozen"]:
        lines.append(f"frozen: {_listed(now['frozen'])}; were {_listed(stored['frozen'])}")
    return lines


def _rates(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in dict.fromkeys(rates))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "nothing"


def _words(schedules: dict[str, str]) -> str:
    return "; ".join(f"{name} {text}" for name, text in schedules.items()) or "constant"


def _require(name: str, allowed: Sequence[str], where: str, before: str, after: str) -> None:
    if name not in allowed:
        raise ValueError(
            f"{where}: the run began with {before}, but now {after}, so that it would be another run; resume with the "
            f"same settings, or say that you want the change: change=[{name!r}]."
        )


def keep_position(run: Run, stored: dict[str, Any], saved: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the source's state for another batch size, with the run's position moved to the same row.

    A position that is no multiple of the new batch size moves back to the batch that holds it, so that rows are seen
    twice rather than not at all; the line says how many.
    """
    before, now = stored["batch_size"], run.source.batch_size
    if "batch_size" not in run.settings.change or before == now or before is None or now is None:
        return saved, []
    rows = run.batch * before
    run.batch, twice = divmod(rows, now)
    if run.source.steps_per_epoch is not None:
        run.batch = min(run.batch, run.source.steps_per_epoch)
    lines = [f"batch_size: {twice} rows of this epoch come a second time"] if twice else []
    return {**saved, **{key: value for key, value in run.source.state().items() if key in _OF_BATCHES}}, lines


_OF_BATCHES = ("batch_size", "block_rows", "window")

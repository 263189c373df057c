"""A handful of places where a user's code runs during training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor

from thalweg.errors import check_number, unknown_name

if TYPE_CHECKING:
    from .run import Run

__all__ = ["EarlyStopping", "Hook", "is_better_upwards", "replaces_step"]

_UPWARDS = ("accuracy", "acc", "auroc", "f1", "precision", "recall", "r2")


class Hook:
    """No-op hooks; override what you need and pass instances as ``fit(..., hooks=[...])``.

    To replace the step, define ``step(self, run, batch)`` as well: it does forward, backward and updates by itself (two
    losses, a GAN-like pair of updates) and returns the loss to record, a 0-dim tensor or (sum, weight). Reading a
    tensor's value in a hook waits for the device; returning it does not.
    """

    def on_fit_begin(self, run: Run) -> None:
        """Before the first step of this call of ``fit``."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before an epoch's first batch (also when an epoch is gone on with)."""

    def on_step_end(self, run: Run) -> None:
        """After each update of the parameters."""

    def on_epoch_end(self, run: Run, row: dict[str, float]) -> None:
        """After an epoch and its validation; *row* is its line in the history."""

    def on_fit_end(self, run: Run) -> None:
        """After the last step, also when training stopped early."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return (tensors, plain data) that a resumed run needs.

        Dictionaries, lists and tensors may be nested: an ``optimizer.state_dict()`` goes into the plain data as it is.
        """
        return {}, {}

    def load_state(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        """Take back what :meth:`state` returned."""


def replaces_step(hook: Hook) -> bool:
    """Whether the hook's class defines ``step`` (an attribute of that name on the instance is the user's own)."""
    return callable(getattr(type(hook), "step", None))


def is_better_upwards(column: str) -> bool:
    """Whether a larger value is the better one, told by the column's name.

    >>> is_better_upwards("val_accuracy"), is_better_upwards("val_loss")
    (True, False)
    """
    return column.endswith(_UPWARDS)


class EarlyStopping(Hook):
    """Stop when a value has not improved for *patience* epochs, and go back to the best weights.

    Args:
        monitor: a column of the epoch row, e.g. ``"val_loss"`` or ``"val_accuracy"``.
        patience: epochs without improvement that are tolerated, >= 1.
        min_delta: what counts as improvement, >= 0.
        mode: ``"min"``, ``"max"``, or ``"auto"`` (max for accuracy-like names, else min).
        restore_best: put the best epoch's parameters and buffers back at the end.

    Raises:
        ValueError: the monitored column is not in the epoch row.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        check_number("EarlyStopping", "patience", patience, low=1)
        check_number("EarlyStopping", "min_delta", min_delta, low=0.0)
        if mode not in ("auto", "min", "max"):
            raise unknown_name("EarlyStopping", "mode", mode, ("auto", "min", "max"))
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.mode = mode if mode != "auto" else ("max" if is_better_upwards(monitor) else "min")
        self.restore_best = restore_best
        self._forget()

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience}, min_delta={self.min_delta}, "
            f"mode={self.mode!r}, restore_best={self.restore_best})"
        )

    def on_fit_begin(self, run: Run) -> None:
        if run.step == 0:  # another training, not one that is gone on with: what was best in the last one is no measure
            self._forget()

    def _forget(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = -1
        self.waited = 0
        self._weights: dict[str, Tensor] = {}

    def on_epoch_end(self, run: Run, row: dict[str, float]) -> None:
        if self.monitor not in row:
            raise unknown_name("EarlyStopping", "monitor", self.monitor, row)
        value = row[self.monitor]
        sign = 1.0 if self.mode == "min" else -1.0
        if sign * value < sign * self.best - self.min_delta:
            self.best, self.best_epoch, self.waited = value, run.epoch, 0
            if self.restore_best:
                self._weights = {name: tensor.detach().clone() for name, tensor in run.module.state_dict().items()}
            return
        self.waited += 1
        if self.waited >= self.patience:
            run.stop(
                f"{self.monitor} has not improved on {self.best:.6g} (epoch {self.best_epoch}) for {self.waited} epochs"
            )

    def on_fit_end(self, run: Run) -> None:
        if self.restore_best and self._weights and self.best_epoch != run.epoch:
            run.module.load_state_dict(self._weights)
            run.history.event(run.step, "early stopping", f"weights of epoch {self.best_epoch} restored")

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        best = self.best if math.isfinite(self.best) else None
        return dict(self._weights), {"best": best, "best_epoch": self.best_epoch, "waited": self.waited}

    def load_state(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        self._weights = dict(tensors)
        self.best_epoch, self.waited = plain["best_epoch"], plain["waited"]
        if plain["best"] is not None:
            self.best = plain["best"]

"""Settings that belong together, as objects for a learner and as plain data for a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from thalweg import loss as losses
from thalweg import optim
from thalweg import schedule as schedules
from thalweg.loss import Loss
from thalweg.optim import Rule
from thalweg.schedule import Schedule

__all__ = ["Preset"]


@dataclass(frozen=True)
class Preset(Mapping[str, Any]):
    """Rule, schedule, loss and clipping, and where they come from.

    It is a mapping of the arguments of ``tw.compile``, so that ``tw.compile(model, **preset)`` uses it;
    ``{**preset, "optimizer": ...}`` changes one. :meth:`sections` are the same for a recipe.

    Attributes:
        name: of the preset.
        source: one line: who uses these numbers, and where it is written.
        optimizer, schedule, loss: as objects.
        clip_norm: the largest 2-norm of all gradients together, or None.

    >>> import thalweg as tw
    >>> preset = tw.presets.fine_tuning(lr=1e-4)
    >>> list(preset), preset["optimizer"].lr
    (['optimizer', 'schedule', 'loss', 'clip_norm'], 0.0001)
    """

    name: str
    source: str
    optimizer: Rule
    schedule: Schedule | None
    loss: Loss
    clip_norm: float | None = None

    def _settings(self) -> dict[str, Any]:
        settings = {
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "loss": self.loss,
            "clip_norm": self.clip_norm,
        }
        return {name: value for name, value in settings.items() if value is not None}

    def __getitem__(self, name: str) -> Any:
        return self._settings()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings())

    def __len__(self) -> int:
        return len(self._settings())

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return the sections of a recipe that the preset fills, as plain data.

        >>> import thalweg as tw
        >>> tw.presets.fine_tuning().sections()["train"]
        {'clip_norm': 1.0}
        """
        found: dict[str, dict[str, Any]] = {
            "optimizer": dict(optim.to_dict(self.optimizer)),
            "loss": losses.to_dict(self.loss),
        }
        if self.schedule is not None:
            found["schedule"] = dict(schedules.to_dict(self.schedule))
        if self.clip_norm is not None:
            found["train"] = {"clip_norm": self.clip_norm}
        return found

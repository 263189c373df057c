"""A training's path kept in memory while it is walked, in few vectors."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import check_number
from ..loop import Hook, Run
from .weights import Weights

__all__ = ["PathRecorder"]


class PathRecorder(Hook):
    """A hook that keeps copies of the parameters along a training, at most a given number of them.

    When there are too many, every second one is dropped and the distance between two doubles, so that what is kept
    stays evenly spread over the whole training however long it becomes. The first and the last point are always kept.

    Args:
        every: updates between two points at the start, >= 1.
        keep: points at most, >= 3.
        host: whether the copies are kept in the host's memory instead of the device's.

    >>> import torch, thalweg as tw
    >>> path = PathRecorder(keep=4)
    >>> learner = tw.compile(torch.nn.Linear(1, 1), optimizer="sgd", lr=0.1, loss="mse")
    >>> _ = learner.fit((torch.ones(40, 1), torch.ones(40, 1)), batch_size=4, verbose=False, hooks=[path])
    >>> path.steps
    [0, 4, 8, 10]
    """

    def __init__(self, every: int = 1, keep: int = 64, host: bool = False) -> None:
        check_number("PathRecorder", "every", every, low=1)
        check_number("PathRecorder", "keep", keep, low=3)
        self.every, self.keep, self.host = int(every), int(keep), host
        self._kept: list[tuple[int, Weights]] = []
        self._last: tuple[int, Weights] | None = None

    @property
    def steps(self) -> list[int]:
        """The steps of the points."""
        return [step for step, _ in self._points()]

    @property
    def points(self) -> list[Weights]:
        """The parameters at these steps, by name."""
        return [weights for _, weights in self._points()]

    def _points(self) -> list[tuple[int, Weights]]:
        if self._last is None or (self._kept and self._kept[-1][0] == self._last[0]):
            return self._kept
        return [*self._kept, self._last]

    def on_fit_begin(self, run: Run) -> None:
        if not self._kept:
            self._kept.append((run.step, self._copy(run)))

    def on_step_end(self, run: Run) -> None:
        if run.step % self.every:
            return
        self._kept.append((run.step, self._copy(run)))
        if len(self._kept) >= self.keep:
            self.every *= 2
            first = self._kept[0]
            self._kept = [first, *(entry for entry in self._kept[1:] if entry[0] % self.every == 0)]

    def on_fit_end(self, run: Run) -> None:
        self._last = run.step, self._copy(run)

    def _copy(self, run: Run) -> Weights:
        return {
            name: param.detach().to("cpu", copy=True) if self.host else param.detach().clone()
            for name, param in run.module.named_parameters()
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"{step}/{name}": tensor for step, weights in self._kept for name, tensor in weights.items()}
        return tensors, {"every": self.every, "steps": [step for step, _ in self._kept]}

    def load_state(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        self.every = plain["every"]
        self._kept = []
        for step in plain["steps"]:
            prefix = f"{step}/"
            held = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            self._kept.append((step, held))

"""The way that an iterative solver took."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .blocks import Array

__all__ = ["Path", "PathKeeper"]


@dataclass(frozen=True)
class Path:
    """Iterates, evenly spread over the steps; few of them however long the way.

    Attributes:
        step: updates made before each, **(m,)**.
        coef: **(m, t, p)**, in the coordinates of the data.
        intercept: **(m, t)**.
        loss: of the batch that followed, per unit of weight, penalty included, **(m,)**; NaN at the end, which none
            follows.
    """

    step: Array
    coef: Array
    intercept: Array
    loss: Array

    def __len__(self) -> int:
        return len(self.step)

    def __repr__(self) -> str:
        return f"Path({len(self)} iterates, steps {self.step[0]} to {self.step[-1]})"


class PathKeeper:
    """Keeps at most *most* iterates: when they are full, every other one goes and the stride doubles.

    >>> keeper = PathKeeper(4)
    >>> for step in range(10):
    ...     if keeper.wants(step):
    ...         keeper.add(step, torch.zeros(1, 2), torch.zeros(1), torch.tensor(0.0))
    >>> keeper.path().step.tolist()
    [0, 4, 8]
    """

    def __init__(self, most: int = 256) -> None:
        self.most, self.stride = most, 1
        self._kept: list[tuple[int, Tensor, Tensor, Tensor]] = []

    def wants(self, step: int) -> bool:
        """Whether the iterate before update *step* is to be kept."""
        return step % self.stride == 0

    def add(self, step: int, coef: Tensor, intercept: Tensor, loss: Tensor) -> None:
        """Keep an iterate; the tensors are not copied."""
        if len(self._kept) >= self.most:
            self.stride *= 2
            self._kept = [kept for kept in self._kept if kept[0] % self.stride == 0]
            if not self.wants(step):
                return
        self._kept.append((step, coef, intercept, loss))

    def path(self) -> Path:
        """Return what is kept."""
        steps = np.array([kept[0] for kept in self._kept])
        coef, intercept, loss = (
            torch.stack([kept[index] for kept in self._kept]).double().numpy()  # type: ignore[misc]
            for index in (1, 2, 3)
        )
        return Path(steps, coef, intercept, loss)

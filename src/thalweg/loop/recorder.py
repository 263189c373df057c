"""Values kept on the device and brought to the host every so often."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .history import Array, History

__all__ = ["Recorder", "Window"]


@dataclass(frozen=True)
class Window:
    """What the guard needs to know of the updates of one flush, beside their rows in the history.

    Attributes:
        batches: (first, past the last) batch of the epoch that made each update.
        has_norm: whether a norm was recorded, **(T,)**.
        first_bad: position of the first parameter whose gradient is not finite, −1 for none, **(T,)**; None where only
            the norm of all gradients together is known.
        skipped: whether the update was skipped on the device, **(T,)**; None where none can be.
    """

    batches: list[tuple[int, int]]
    has_norm: np.ndarray
    first_bad: np.ndarray | None
    skipped: np.ndarray | None


class Recorder:
    """Collects loss, rate, momentum and gradient norm of each update without looking at them.

    A 0-dim tensor is kept by reference until :meth:`flush`, which stacks a window's values and copies them once; in
    between nothing waits for the device.

    Args:
        history: where flushed rows go.
        rate_names: columns of the rates given to :meth:`add`: ``lr``, ``momentum``, and one per layer group.
    """

    def __init__(self, history: History, rate_names: tuple[str, ...] = ()) -> None:
        self.history = history
        self.rate_names = rate_names
        self._step: list[int] = []
        self._epoch: list[int] = []
        self._loss: list[Tensor] = []
        self._weight: list[Tensor | int] = []
        self._penalty: list[Tensor] = []
        self._norms: list[list[Tensor] | Tensor | None] = []
        self._rates: list[tuple[float | None, ...]] = []
        self._batches: list[tuple[int, int]] = []
        self._skipped: list[Tensor] = []
        self.window = Window([], np.zeros(0, bool), None, None)

    def __len__(self) -> int:
        return len(self._step)

    def add(
        self,
        step: int,
        epoch: int,
        loss: Tensor,
        weight: Tensor | int,
        norms: list[Tensor] | Tensor | None,
        rates: tuple[float | None, ...],
        penalty: Tensor | None = None,
        batches: tuple[int, int] = (0, 0),
        skipped: Tensor | None = None,
    ) -> None:
        """Keep one update's values: the loss as (sum, weight), the norm as per-tensor norms or the total."""
        self._batches.append(batches)
        if skipped is not None:
            self._skipped.append(skipped)
        self._step.append(step)
        self._epoch.append(epoch)
        self._loss.append(loss)
        self._weight.append(weight)
        self._norms.append(norms)
        self._rates.append(rates)
        if penalty is not None:
            self._penalty.append(penalty)

    def flush(self) -> dict[str, Array]:
        """Move what was kept into the history and return the rows (empty dict if there are none).

        :attr:`window` is what else is known of them.
        """
        if not self._step:
            return {}
        loss = _stacked(self._loss)
        weight = np.array([math.nan if isinstance(w, Tensor) else float(w) for w in self._weight])
        on_device = [index for index, w in enumerate(self._weight) if isinstance(w, Tensor)]
        if on_device:
            weight[on_device] = _stacked([w for w in self._weight if isinstance(w, Tensor)])
        # 0/0 is a loss of 0 (every row masked); NaN without weight is a step that recorded nothing.
        mean = np.divide(loss, weight, out=np.where(np.isnan(loss), loss, 0.0), where=weight != 0)
        if self._penalty:
            mean = mean + _stacked(self._penalty)
        norms, first_bad = _norms(self._norms)
        self.window = Window(
            batches=list(self._batches),
            has_norm=np.array([kept is not None for kept in self._norms]),
            first_bad=first_bad,
            skipped=_stacked(self._skipped) != 0 if self._skipped else None,
        )
        block: dict[str, Array] = {
            "step": np.array(self._step, dtype=np.float64),
            "epoch": np.array(self._epoch, dtype=np.float64),
            "loss": mean,
            "weight": weight,
            "grad_norm": norms,
        }
        for column, name in enumerate(self.rate_names):
            values = [rates[column] for rates in self._rates]
            block[name] = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        for kept in (self._step, self._epoch, self._loss, self._weight, self._norms, self._rates, self._penalty):
            kept.clear()
        self._batches.clear()
        self._skipped.clear()
        return self.history.extend(block)


def _stacked(values: list[Tensor]) -> Array:
    return torch.stack(values).to("cpu", torch.float64, copy=True).numpy()


def _norms(kept: list[list[Tensor] | Tensor | None]) -> tuple[Array, np.ndarray | None]:
    """Return the total norms, and which parameter's was the first that is not finite.

    Per-tensor norms are combined for the whole window at once where they are alike.
    """
    first = kept[0]
    table: Tensor | None = None
    if isinstance(first, list) and first and all(isinstance(n, list) and len(n) == len(first) for n in kept):
        flat = [norm for norms in kept if isinstance(norms, list) for norm in norms]
        table = torch.stack(flat).to("cpu", torch.float64).reshape(len(kept), len(first))
    elif isinstance(first, Tensor) and all(isinstance(n, Tensor) and n.shape == first.shape for n in kept):
        together = torch.stack([norm for norm in kept if isinstance(norm, Tensor)]).to("cpu", torch.float64)
        if together.ndim == 1:
            return together.numpy(), None
        table = together
    if table is not None:
        combined: Array = torch.linalg.vector_norm(table, dim=1).numpy()
        bad = ~torch.isfinite(table)
        return combined, torch.where(bad.any(dim=1), bad.int().argmax(dim=1), -1).numpy()
    out = np.full(len(kept), math.nan)
    for index, norms in enumerate(kept):
        if isinstance(norms, list):
            norms = torch.stack(norms) if norms else None
        if norms is not None:
            out[index] = float(torch.linalg.vector_norm(norms))
    return out, None

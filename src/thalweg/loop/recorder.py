"""Values kept on the device and brought to the host every so often."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .history import Array, History

__all__ = ["Recorder"]


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
    ) -> None:
        """Keep one update's values: the loss as (sum, weight), the norm as per-tensor norms or the total."""
        self._step.append(step)
        self._epoch.append(epoch)
        self._loss.append(loss)
        self._weight.append(weight)
        self._norms.append(norms)
        self._rates.append(rates)
        if penalty is not None:
            self._penalty.append(penalty)

    def flush(self) -> dict[str, Array]:
        """Move what was kept into the history and return the rows (empty dict if there are none)."""
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
        block: dict[str, Array] = {
            "step": np.array(self._step, dtype=np.float64),
            "epoch": np.array(self._epoch, dtype=np.float64),
            "loss": mean,
            "weight": weight,
            "grad_norm": _norms(self._norms),
        }
        for column, name in enumerate(self.rate_names):
            values = [rates[column] for rates in self._rates]
            block[name] = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        for kept in (self._step, self._epoch, self._loss, self._weight, self._norms, self._rates, self._penalty):
            kept.clear()
        return self.history.extend(block)


def _stacked(values: list[Tensor]) -> Array:
    return torch.stack(values).to("cpu", torch.float64, copy=True).numpy()


def _norms(kept: list[list[Tensor] | Tensor | None]) -> Array:
    """Return the total norms; per-tensor norms are combined for the whole window at once where they are alike."""
    first = kept[0]
    if isinstance(first, list) and first and all(isinstance(n, list) and len(n) == len(first) for n in kept):
        flat = [norm for norms in kept if isinstance(norms, list) for norm in norms]
        table = torch.stack(flat).to("cpu", torch.float64).reshape(len(kept), len(first))
        combined: Array = torch.linalg.vector_norm(table, dim=1).numpy()
        return combined
    out = np.full(len(kept), math.nan)
    for index, norms in enumerate(kept):
        if isinstance(norms, list):
            norms = torch.linalg.vector_norm(torch.stack(norms)) if norms else None
        if norms is not None:
            out[index] = float(norms)
    return out

"""Sums over the rows seen so far, kept so that an interrupted computation goes on from what was done."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..checkpoint import write_whole

__all__ = ["Partial"]

Array = NDArray[np.float64]

_EVERY = 20.0  # seconds between two writings
_MOST_PENDING = 512


@dataclass(frozen=True)
class _Sum:
    """What the points *first* to *last* gave over some rows; *reached*: all points before that one are complete."""

    batch: int
    first: int
    last: int
    sums: Tensor
    weights: Tensor | int
    reached: int


@dataclass(frozen=True)
class _State:
    """Everything in one object, exchanged in one step: Ctrl-C finds the old one or the new one."""

    sums: Array
    weights: Array
    block: int = 0
    point: int = 0
    rows: int = 0
    pending: list[_Sum] = field(default_factory=list)


class Partial:
    """Sums and weights of P points, and how far the sweep over rows and points has come.

    Args:
        path: a ``.npz`` file that is written when the computation is interrupted, and every twenty seconds; removed at
            the end. None keeps nothing.
        key: what identifies the computation; a file of another one is refused.
    """

    def __init__(self, path: Path | None = None, key: str = "") -> None:
        self.path, self.key = path, key
        self._state = _State(np.zeros((0, 0)), np.zeros((0, 0)))
        self._written = time.monotonic()

    @property
    def block(self) -> int:
        """Blocks of rows over which all points are complete."""
        return self._state.block

    @property
    def point(self) -> int:
        """Points that are complete over the present block."""
        pending = self._state.pending
        return pending[-1].reached if pending else self._state.point

    @property
    def rows(self) -> int:
        """Rows in the complete blocks."""
        return self._state.rows

    def start(self, points: int, batches: int, layout: str = "") -> None:
        """Begin with *points* points, or with what an earlier computation of the same *layout* left in the file."""
        self.key = f"{self.key} {layout}"
        self._state = _State(np.zeros((batches, points)), np.zeros((batches, points)))
        if self.path is not None and self.path.exists():
            self._read()

    def add(self, batch: int, first: int, last: int, sums: Tensor, weights: Tensor | int) -> None:
        """Add what the points *first* to *last* gave over the rows at hand; the device is not waited for."""
        kept = weights if isinstance(weights, int) else _double(weights)
        self._append([_Sum(batch, first, last, _double(sums), kept, last)])

    def add_point(self, index: int, found: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Add what one point gave over all rows: batch → (sum, weight), 0-dim each."""
        span = (index, index + 1)
        self._append(
            [_Sum(b, *span, _double(s).reshape(1), _double(w).reshape(1), index + 1) for b, (s, w) in found.items()]
        )

    def _append(self, entries: list[_Sum]) -> None:
        self._state.pending.extend(entries)  # in one step, so that Ctrl-C leaves no half of them
        if len(self._state.pending) >= _MOST_PENDING:
            self.settle()
        if self.path is not None and time.monotonic() - self._written > _EVERY:
            self.write()

    def close_block(self, rows: int) -> None:
        """Say that all points have been computed over a block of *rows* rows."""
        new = self._settled()
        self._state = replace(new, block=new.block + 1, point=0, rows=new.rows + rows)

    def settle(self) -> None:
        """Bring pending sums to the host."""
        self._state = self._settled()

    def _settled(self) -> _State:
        state = self._state
        if not state.pending:
            return state
        values = torch.cat([entry.sums for entry in state.pending]).cpu().numpy()
        sums, weights = state.sums.copy(), state.weights.copy()
        start = 0
        for entry in state.pending:
            span = slice(entry.first, entry.last)
            sums[entry.batch, span] += values[start : start + entry.last - entry.first]
            kept = entry.weights
            weights[entry.batch, span] += kept if isinstance(kept, int) else kept.cpu().numpy()
            start += entry.last - entry.first
        return replace(state, sums=sums, weights=weights, point=state.pending[-1].reached, pending=[])

    def means(self) -> Array:
        """Return sums over weights, **(batches, P)**; 0 where there is no weight."""
        self.settle()
        sums, weights = self._state.sums, self._state.weights
        means: Array = np.divide(sums, weights, out=np.zeros_like(sums), where=weights != 0)
        return means

    def write(self) -> None:
        """Write what is done to the file."""
        if self.path is None or not self._state.sums.size:  # nothing was begun
            return
        self.settle()
        state, path = self._state, self.path
        place = np.array([state.block, state.point, state.rows])

        def fill(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, key=np.array(self.key), place=place, sums=state.sums, weights=state.weights)

        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, fill)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Remove the file: everything is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        assert self.path is not None
        advice = "remove the file, or give another name."
        try:
            with np.load(self.path, allow_pickle=False) as file:
                key, place = str(file["key"]), [int(value) for value in file["place"]]
                sums, weights = file["sums"], file["weights"]
        except (KeyError, OSError, ValueError, EOFError) as error:
            raise ValueError(f"surface: resume={str(self.path)!r} cannot be read ({error}); {advice}") from error
        if key != self.key or sums.shape != self._state.sums.shape:
            raise ValueError(
                f"surface: resume={str(self.path)!r} belongs to another computation (other weights, directions, "
                f"coordinates or data); {advice}"
            )
        self._state = _State(sums, weights, place[0], place[1], place[2])


def _double(value: Tensor) -> Tensor:
    return value.double() if value.device.type != "mps" else value

"""The step of the loop as one compiled call, with the eager step for what does not fit it."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from thalweg.data import split
from thalweg.data.ranked import rows_in
from thalweg.engine import RuleOptimizer
from thalweg.engine.flat_graph import CannotCompile
from thalweg.engine.whole_step import WholeStep
from thalweg.objective import Objective

from .out_of_memory import check_can_halve, may_run_out
from .precision import Precision
from .rates import Rates
from .step import EagerStep

__all__ = ["PAYS_AFTER", "CompiledStep", "auto_compiles"]

#: Updates after which compiling has paid, taken for granted by ``step="auto"``: about 15 s of compilation with a cold
#: cache over about 0.1 ms saved per update on two cores (benchmarks/loop.py prints what it measures).
PAYS_AFTER = 150_000
_LARGEST = 2_000_000  # parameters; beyond, the GEMMs decide and compiling takes longer
_MOST_TENSORS = 32
_HALF_MADE = (
    "fit: memory held the compiled step before, so that nothing was kept to undo it with, and some parameters may be "
    "updated already, so that it cannot be repeated. Go on from the last checkpoint (resume=…), with a lower "
    "batch_size or step='eager'."
)


def auto_compiles(optimizer: Any, total_steps: int | None, accumulate: int, precision: Precision) -> tuple[bool, str]:
    """Return whether ``step="auto"`` compiles the whole step, and why, in words.

    The decision looks only at what is fixed before the run, never at a clock, so that a resumed run decides alike.
    """
    if not isinstance(optimizer, RuleOptimizer):
        return False, "the optimizer is torch's own"
    if accumulate > 1 or precision.scaler is not None:
        return False, "accumulation and fp16 scaling run eagerly"
    params = [p for group in optimizer.param_groups for p in group["params"]]
    if len(params) > _MOST_TENSORS or sum(p.numel() for p in params) > _LARGEST:
        return False, "for a model of this size the matrix products decide, not the calls between them"
    steps = 0 if total_steps is None else total_steps
    if steps < PAYS_AFTER:
        known = "an unknown number" if total_steps is None else f"{steps:,}"
        return False, f"compiling the whole step pays after about {PAYS_AFTER:,} updates and this run has {known}"
    return True, f"the whole step is compiled: {steps:,} updates are more than the {PAYS_AFTER:,} after which that pays"


class CompiledStep(EagerStep):
    """Runs a batch through :class:`thalweg.engine.WholeStep`, or eagerly where it has another shape.

    The same state serves both, so an epoch's last, smaller batch is an eager step between compiled ones.

    Args:
        objective, optimizer, precision: as for :class:`EagerStep`.
        rates: whose schedules say which hyperparameters move.
        strict: raise where compiling cannot work, instead of going on eagerly with ``notice`` set.
    """

    def __init__(
        self, objective: Objective, optimizer: RuleOptimizer, precision: Precision, rates: Rates, *, strict: bool
    ) -> None:
        super().__init__(objective, optimizer, precision)
        self._rates = rates
        self._strict = strict
        self._whole: WholeStep | None = None
        self._eager_only = False
        self._done = False
        self._sure = True
        self.compile_seconds = 0.0

    def begin_epoch(self, alone: bool = False) -> None:
        """Compile anew if what the graph holds as constant has changed since."""
        if self._whole is not None and not self._whole.is_current():
            self._whole.release()
            self._whole = None

    def micro(self, batch: Any, windows: int = 1) -> None:
        assert windows == 1, "accumulation runs eagerly"
        if self.pieces > 1:  # as the run that is gone on with had it
            self._eager_only = True
        if self._whole is None and not self._eager_only:
            self._compile(batch)
        whole = self._whole
        if whole is None or not whole.fits(batch):
            if whole is not None:
                whole.release()
            super().micro(batch, windows)
            if self.pieces > 1:
                self._leave()
            return
        try:
            self.loss, self.weight, self.norms, self.penalty = self._at_once(whole, batch)
            self._done = True
        except torch.OutOfMemoryError as error:
            if whole.undoable:
                whole.undo()
                check_can_halve(self.objective.model, self.objective.loss, rows_in(batch), 1)
            else:
                error.add_note(_HALF_MADE)
                raise
        if not self._done:  # outside of the handler, whose traceback holds the tensors of the failed attempt
            del whole
            self._leave()
            self._repeat(1, batch)
            self.notice += "; the step is no longer compiled"

    def _at_once(self, whole: WholeStep, batch: Any) -> tuple[Tensor, Tensor | int, Tensor, Tensor | None]:
        """Make a compiled step, the first one so that it can be undone.

        The graph updates in place as soon as it has a gradient, so that a step that memory does not hold may have
        changed some parameters. Every call takes the same memory: only the first one is in danger, and a copy on the
        host for it costs little.
        """
        if self._sure:
            return whole(batch)
        whole.keep()
        made = whole(batch)
        whole.forget()
        self._sure = True
        return made

    def _leave(self) -> None:
        """Go on eagerly from here."""
        if self._whole is not None:
            self._whole.release()
        self._whole, self._eager_only = None, True

    def update(self) -> bool:
        if self._done:
            self._done = False
            return True
        real = super().update()
        if self._whole is not None:
            self._whole.reload()
        return real

    def settle(self) -> None:
        if self._whole is not None:
            self._whole.release()

    def _compile(self, batch: Any) -> None:
        assert self._ours is not None, "only our optimizer is compiled"
        started = time.perf_counter()
        try:
            self._whole = WholeStep(
                self.objective,
                self._ours,
                split,
                batch,
                scheduled=tuple(self._rates.schedules),
                autocast=self.precision.dtype,
            )
        except CannotCompile as error:
            if self._strict:
                raise ValueError(
                    f"Learner: step='compiled' was asked for, but {error}; use step='auto' or 'eager'."
                ) from error
            self._eager_only = True
            self.notice = f"the whole step could not be compiled ({error}); going on eagerly"
        self._sure = not may_run_out(self._params[0].device)
        self.compile_seconds = time.perf_counter() - started

"""The gradient of a batch and the update from it: the eager step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from thalweg.data import split
from thalweg.data.ranked import rows_in
from thalweg.engine import RuleOptimizer, clip_coefficient, total_norm
from thalweg.objective import Objective

from .backward import backward
from .latch import Latch
from .out_of_memory import check_can_halve, pieces_of
from .precision import Precision

__all__ = ["EagerStep"]

_FEW = 16  # up to so many tensors, per-tensor norms are kept as they are and combined at the flush
_HALF = (torch.float16, torch.bfloat16)


class EagerStep:
    r"""Accumulates the gradient of :math:`\sum_i \ell_i / \sum_i a_i` over micro-batches, then updates once.

    The division is by the sum of all weights of the window, so micro-batches that hold different numbers of tokens, and
    a last window that is not full, count as what they are. Nothing here reads a value back from the device (fp16
    excepted).

    Args:
        objective: model, loss and penalty.
        optimizer: ours, or any torch optimizer.
        precision: autocast and scaler.
        clip_norm: for torch's optimizers; ours clip by themselves.
        clip_value: likewise.
        record_norm: keep the norm of the gradients.
        latch: what decides on the device whether an update is skipped; None: none is.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        record_norm: bool = True,
        latch: Latch | None = None,
    ) -> None:
        self.objective = objective
        self.optimizer = optimizer
        self.precision = precision
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.record_norm = record_norm
        self.loss: Tensor | None = None
        self.weight: Tensor | int = 0
        self.norms: list[Tensor] | Tensor | None = None
        self.penalty: Tensor | None = None
        self.skipped: Tensor | None = None
        self.present: list[Tensor] = []  # the parameters that the norms belong to
        self.notice = ""
        self.latch = latch
        self.pieces = 1  # that every micro-batch is cut into, since memory did not hold it whole
        self._seen: list[Any] = []  # micro-batches of a window of several, should it have to be repeated
        self._named = dict(objective.model.named_parameters())
        self._params = [p for group in optimizer.param_groups for p in group["params"]]
        self._ours = optimizer if isinstance(optimizer, RuleOptimizer) else None
        self._seeds: dict[tuple[int, torch.dtype], Tensor] = {}
        self._divisor = 1.0
        self._plain = precision.dtype is None
        self._needs_closure = isinstance(optimizer, torch.optim.LBFGS)
        self._batch: Any = None
        self._bound: Callable[[list[Tensor]], None] | None = None
        self._alone = False

    def micro(self, batch: Any, windows: int = 1) -> None:
        """Add one micro-batch's gradient, out of *windows* that make an update.

        Where memory does not hold it, it is halved for the rest of the training, and the window repeated.

        Raises:
            torch.OutOfMemoryError: halves would not give the same gradient; the message says why.
        """
        self._attempt(batch, windows)

    def _attempt(self, batch: Any, windows: int) -> None:
        try:
            self._micro(batch, windows)
            repeat = False
        except torch.OutOfMemoryError:
            if self._needs_closure:  # it evaluates its whole batch again
                raise
            check_can_halve(self.objective.model, self.objective.loss, rows_in(batch), self.pieces)
            repeat = True
        if windows > 1:
            self._seen.append(batch)
        if repeat:  # outside of the handler, whose traceback holds the tensors of the failed attempt
            self._repeat(windows, batch)

    def _repeat(self, windows: int, batch: Any) -> None:
        """Make the window's gradient again, from micro-batches half as large."""
        again = self._seen or [batch]
        for param in self._params:
            param.grad = None
        self.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.pieces *= 2
        rows = rows_in(batch)
        self.notice = (
            f"memory did not hold a micro-batch, so {rows} rows are taken in {self.pieces} pieces of up to "
            f"{-(-rows // self.pieces)} from here on; the gradient is the same (dropout draws anew)"
        )
        for held in again:
            self._attempt(held, windows)

    def _micro(self, batch: Any, windows: int) -> None:
        if self.pieces == 1:
            self._add(batch, windows)
            return
        for piece in pieces_of(batch, self.pieces):
            self._add(piece, windows * self.pieces)

    def _add(self, batch: Any, windows: int) -> None:
        parts = split(batch)
        if self.latch is not None and self.loss is None:
            self.latch.before()
        if self._plain:
            total, weight, _ = self.objective.eager(parts)
        else:
            with self.precision.context():
                total, weight, _ = self.objective.eager(parts)
        if self.loss is None:
            self.loss, self.weight = total.detach(), weight
            # The first micro-batch fixes a divisor near the final one, so that sums of a large batch stay in range.
            self._divisor = 1.0 if isinstance(weight, Tensor) else float(max(weight, 1) * windows)
        else:
            self.loss = self.loss + total.detach()
            self.weight = self.weight + weight
        if self.precision.scaler is not None:
            total = self.precision.scaler.scale(total)
        if windows == 1 and isinstance(weight, Tensor):
            self._divisor = 0.0  # marks: already divided
            exact = weight.to(total.dtype)  # a count is an integer, whose reciprocal torch takes in float32
            positive = exact > 0
            seed = torch.where(positive, exact, 1).reciprocal().where(positive, 0)
            backward(total, seed)
        else:
            backward(total, self._seed(total))
        if self._needs_closure:
            self._batch = batch

    def _seed(self, total: Tensor) -> Tensor:
        """Return the gradient of the sum: one over the divisor, kept from step to step."""
        key = (int(self._divisor), total.dtype)
        seed = self._seeds.get(key)
        if seed is None:
            seed = self._seeds[key] = torch.full((), 1.0 / self._divisor, dtype=total.dtype, device=total.device)
        return seed

    def update(self) -> bool:
        """Update from what has been accumulated; return whether it was a real update (fp16 may skip one)."""
        self._settle()
        optimizer, scaler = self.optimizer, self.precision.scaler
        if scaler is not None:
            scaler.unscale_(optimizer)
        penalty = self.objective.penalty_term
        params, grads = self._gradients()
        if penalty is not None:
            with torch.no_grad():
                self.penalty = penalty(self._named).detach()
            penalty.add_gradient_(params, grads)
        norm: Tensor | None = None
        if self.record_norm or self.clip_norm is not None or self.latch is not None:
            self.norms = _norms(grads, self._ours)
            self.present = params
        if self._ours is not None and scaler is None:
            latch = self.latch
            clips = self._ours.clip_norm is not None and self._ours.clip_value is None
            if clips or (latch is not None and latch.wants_total):
                norm = _total(self.norms)
            if latch is not None and self.loss is not None:
                self.skipped = latch.skip(self.loss, self.weight, self.norms if norm is None else norm)
            if latch is None or not latch.held_back:
                self._apply(grads, norm)
        else:
            self._foreign_step(grads)
        real = True
        if scaler is not None:
            before = scaler.get_scale()
            scaler.update()
            real = scaler.get_scale() >= before
        for param in self._params:
            param.grad = None
        return real

    def _apply(self, grads: list[Tensor], norm: Tensor | None) -> None:
        """Update by a rule of ours; without its questions where nobody can have touched it since the last step."""
        assert self._ours is not None, "a foreign optimizer steps by itself"
        if self._bound is not None and len(grads) == len(self._params):
            with torch.no_grad():
                self._bound(grads)
            return
        flag = None if self.latch is None else self.latch.flag
        self._ours.apply(norm=norm, skip=flag, overwrite=True)
        if self._alone and flag is None:
            self._bound, self._alone = self._ours.bind(), False  # asked once per epoch

    def _gradients(self) -> tuple[list[Tensor], list[Tensor]]:
        params = self._params
        grads = [p.grad for p in params]
        present = [g for g in grads if g is not None]
        if len(present) != len(grads):
            params = [p for p, g in zip(params, grads, strict=True) if g is not None]
        return params, present

    def _settle(self) -> None:
        """Make the accumulated gradients those of sum / weight, where they are not yet."""
        if self._divisor == 0.0 or (not isinstance(self.weight, Tensor) and self.weight == self._divisor):
            return
        weight = self.weight
        _, grads = self._gradients()
        if not grads:
            return
        if isinstance(weight, Tensor):
            exact = weight.to(self.loss.dtype if self.loss is not None else weight.dtype)
            factor = torch.where(exact > 0, self._divisor / torch.where(exact > 0, exact, 1), 0)
            torch._foreach_mul_(grads, factor.to(grads[0].dtype))
        else:
            torch._foreach_mul_(grads, self._divisor / weight if weight else 0.0)

    def _foreign_step(self, grads: list[Tensor]) -> None:
        """Clip (in place: nobody reads the gradients afterwards) and let a torch optimizer step."""
        if self._ours is None:
            if self.clip_value is not None and grads:
                torch._foreach_clamp_max_(grads, self.clip_value)
                torch._foreach_clamp_min_(grads, -self.clip_value)
                self.norms = _norms(grads)
            if self.clip_norm is not None and grads:
                norm = _total(self.norms)
                if norm is not None:
                    torch._foreach_mul_(grads, clip_coefficient(norm, self.clip_norm))
        if self.precision.scaler is not None:
            self.precision.scaler.step(self.optimizer)
        elif self._needs_closure:
            self.optimizer.step(self._closure)  # type: ignore[arg-type]
        else:
            self.optimizer.step()

    def _closure(self) -> Tensor:
        """Recompute loss and gradient of the present batch, for optimizers that evaluate more than once per step."""
        for param in self._params:
            param.grad = None
        total, weight, _ = self.objective.eager(split(self._batch))
        loss = total / weight
        if self.objective.penalty_term is not None:
            loss = loss + self.objective.penalty(self._named)
        with torch.enable_grad():
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def begin_epoch(self, alone: bool = False) -> None:
        """Before an epoch's first batch; *alone*: nobody but this step touches model and optimizer until its end."""
        self._alone, self._bound = alone, None

    def align(self) -> None:
        """Give every process the same buffers, before they evaluate; where there is one, nothing is to be done."""

    def settle(self) -> None:
        """Make the optimizer's state complete: called before anyone reads it."""

    def clear(self) -> None:
        """Forget the window's loss; called after it was recorded."""
        self.loss, self.weight, self.penalty, self.norms, self.skipped = None, 0, None, None, None
        if self._seen:
            self._seen = []


def _norms(grads: list[Tensor], ours: RuleOptimizer | None = None) -> list[Tensor] | Tensor | None:
    """Return the gradients' norms: few as a list, many as one vector, and the total where they are of several kinds."""
    if not grads:
        return None
    first = grads[0]
    kinds = {(grad.dtype, grad.layout, grad.device) for grad in grads}
    if len(kinds) > 1 or first.layout is not torch.strided:
        return total_norm(grads)
    if first.dtype in _HALF or first.is_complex():
        return total_norm(grads)
    each = None if ours is None else ours.engine.norms(grads)
    if each is not None:
        return each
    norms = torch._foreach_norm(grads)
    return list(norms) if len(norms) <= _FEW else torch.stack(norms)


def _total(norms: list[Tensor] | Tensor | None) -> Tensor | None:
    if isinstance(norms, list):
        norms = torch.stack(norms) if len(norms) > 1 else norms[0]
    if norms is None or not norms.ndim:
        return norms
    total: Tensor = torch.linalg.vector_norm(norms)
    return total

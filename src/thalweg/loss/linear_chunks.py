r"""A token loss and its gradients from hidden states and a head, a chunk of logits at a time.

For each chunk of rows: one product makes the logits, the row form turns them into the loss's derivative where they
stand, and two more products carry that back to the hidden states and the head. These three products are the floor of
any implementation; there is no fourth, because the gradients are made in the forward pass.
"""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from thalweg.loss.linear_kernel import SmoothedRows, kernel_for, padded_rows, smoothed_rows
from thalweg.loss.row_blocks import blocks
from thalweg.loss.token_rows import BOUND, RowForm, Rows

__all__ = ["Needs", "RowsResult", "chunk_rows", "kept_rows", "linear_rows", "project"]

# Large chunks spare passes over the head's gradient, which every chunk adds to, and products of fewer than some 300
# rows are slower by a tenth; small ones spare memory. A chunk is a quarter of all logits within these.
_CHUNK_BYTES = 48 * 2**20, 66 * 2**20
#: The kernel's products of few rows cost no more, and it adds to the head's gradient while it computes.
_KERNEL_BYTES = 48 * 2**20


class Needs(NamedTuple):
    """Which gradients are wanted."""

    hidden: bool
    weight: bool
    bias: bool


class RowsResult(NamedTuple):
    """What the rows cost, (N,), and the gradients of their sum times ``factor``; None where it was not wanted.

    Gradients of half-precision inputs are float32: they are rounded once, when all chunks are in.
    """

    values: Tensor
    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def chunk_rows(rows: int, classes: int, itemsize: int) -> int:
    """Return how many of *rows* make a chunk: as even as possible, within the bytes that a chunk may take.

    >>> chunk_rows(2048, 32_000, 4), chunk_rows(1024, 50_257, 4), chunk_rows(100, 1000, 4)
    (512, 256, 100)
    """
    least, largest = _CHUNK_BYTES
    row = max(1, classes * itemsize)
    most = max(1, min(largest, max(least, rows * row // 4)) // row)
    return math.ceil(rows / math.ceil(rows / most)) if rows else 1


def linear_rows(
    form: RowForm,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rows: Rows,
    needs: Needs,
    dtype: torch.dtype,
    upstream: Tensor | None = None,
) -> RowsResult:
    """Return what every row costs and the wanted gradients, without a graph.

    Args:
        form: the loss of a row.
        hidden: (N, D).
        weight: (V, D).
        bias: (V,) or None.
        rows: what belongs to the rows.
        needs: the gradients that are wanted.
        dtype: of the products. Half precision is summed in float32.
        upstream: what all gradients are multiplied with, 0-dim, or None for 1; it costs nothing here.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        kept = kept_rows(rows.keep)
        if kept is not None and len(kept) == len(hidden):
            kept, rows = None, rows._replace(keep=None)
        if kept is None:
            hidden, rows = _blank(hidden, rows)
            return _all_rows(form, hidden, weight, bias, rows, needs, dtype, upstream)
        found = _all_rows(form, hidden[kept], weight, bias, rows._replace(keep=None), needs, dtype, upstream, kept)
        values = found.values.new_zeros(len(hidden)).index_copy_(0, kept, found.values)
        grad = found.hidden
        if grad is not None:
            grad = grad.new_zeros(hidden.shape).index_copy_(0, kept, grad)
        return found._replace(values=values, hidden=grad)


def kept_rows(keep: Tensor | None) -> Tensor | None:
    """Return the indices of the rows that count, or None where they cannot be known without waiting for a device.

    There, and where the step is traced, rows that do not count are computed with zeros.
    """
    if keep is None or keep.device.type != "cpu" or type(keep) is not Tensor or torch.compiler.is_compiling():
        return None
    return keep.nonzero().squeeze(1)


def _blank(hidden: Tensor, rows: Rows) -> tuple[Tensor, Rows]:
    """Return the rows with zeros where they do not count, so that nothing that stands there reaches a product."""
    if rows.keep is None:
        return hidden, rows
    column = rows.keep[:, None]
    factor = rows.keep.to(hidden.dtype) if rows.factor is None else torch.where(rows.keep, rows.factor, 0.0)
    if hidden.dtype in (torch.float16, torch.bfloat16):
        factor = factor.float()
    return torch.where(column, hidden, 0.0), rows._replace(factor=factor)


def _all_rows(
    form: RowForm,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rows: Rows,
    needs: Needs,
    dtype: torch.dtype,
    upstream: Tensor | None,
    kept: Tensor | None = None,
) -> RowsResult:
    """As ``linear_rows``, over all rows of *hidden*; row i of *hidden* belongs to row kept[i] of *rows*."""
    hidden, weight = hidden.to(dtype), weight.to(dtype)
    wide = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    if bias is not None:
        bias = bias.to(dtype)
    rows = rows._replace(
        class_weight=None if rows.class_weight is None else rows.class_weight.to(wide),
        class_factor=None if rows.class_factor is None else rows.class_factor.to(wide),
        factor=None if rows.factor is None else rows.factor.to(wide),
    )
    count, classes = len(hidden), len(weight)
    values = hidden.new_zeros(count, dtype=wide)
    scales = hidden.new_ones(count, dtype=wide)
    size = chunk_rows(count, classes, hidden.element_size())
    smoothed = form.smoothed(rows) if any(needs) and rows.keep is None and bias is None else None
    kernel = None if smoothed is None or type(hidden) is not Tensor else kernel_for(hidden, weight)
    asked = any(needs) and hidden.dtype == wide and (form.asks_bound or kernel is not None)
    bound = _bound(hidden, weight, bias) if asked else math.inf
    if smoothed is not None and kernel is not None and bound < BOUND:
        return _by_kernel(kernel, smoothed, form, hidden, weight, rows, needs, upstream, kept)
    grads = _Gradients(hidden, weight, needs, wide)
    store = _kept_store(min(size, count), hidden, classes)
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        chunk = project(hidden[part], weight, bias, store[: part.stop - start])
        teacher: Tensor | None = None
        if rows.teacher_weight is not None:
            here = rows.take(part if kept is None else kept[part])
            assert here.teacher is not None
            states = here.teacher.to(rows.teacher_weight.dtype)
            teacher = project(states, rows.teacher_weight, rows.teacher_bias, None)
        done = None
        if bound < math.inf and rows.keep is None:
            row = rows.take(part if kept is None else kept[part])
            done = form.differentiate_bounded_(chunk, row, bound)
        if done is not None:
            values[part], scale = done
            scale = _with_factors(scale, row, upstream, len(chunk))
            if scale is not None:
                scales[part] = scale
            grads.add(chunk, part, scales[part])
            continue
        for block in blocks(chunk):
            piece = chunk[block]
            work = piece.to(wide)
            place = slice(start + block.start, start + block.stop)
            row = rows.take(place if kept is None else kept[place])
            if teacher is not None:
                row = row._replace(teacher=teacher[block])
            if any(needs):
                values[place], scale = _differentiate_(form, work, row, upstream)
                if work is not piece:  # rounded once, with the factor in it
                    piece.copy_(work if scale is None else work.mul_(scale[:, None]))
                elif scale is not None:
                    scales[place] = scale
            else:
                values[place] = form.values(work, row)
            if row.keep is not None:
                values[place] = torch.where(row.keep, values[place], 0.0)
        grads.add(chunk, part, scales[part])
    return RowsResult(values, grads.hidden, grads.weight, grads.bias)


def _by_kernel(
    kernel: Any,
    smoothed: SmoothedRows,
    form: RowForm,
    hidden: Tensor,
    weight: Tensor,
    rows: Rows,
    needs: Needs,
    upstream: Tensor | None,
    kept: Tensor | None,
) -> RowsResult:
    """As ``_all_rows``, where no logit exceeds ``BOUND`` and a kernel takes the products."""
    count, classes = len(hidden), len(weight)
    most = max(kernel.tile, _KERNEL_BYTES // (classes * 4) // kernel.tile * kernel.tile)
    size = padded_rows(math.ceil(count / math.ceil(count / most)), kernel.tile)
    memory = _kept_store(size, hidden, classes).view(-1)
    space = kernel.workspace(size, weight, needs.hidden)
    hidden = hidden.contiguous()
    mean = weight.mean(0) if smoothed.smoothing else None
    values = hidden.new_empty(count)
    hidden_grad = torch.empty_like(hidden) if needs.hidden else None
    weight_grad = torch.empty_like(weight) if needs.weight else None
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        room = padded_rows(part.stop - start, kernel.tile)
        store = memory[: classes * room].view(classes, room)
        row = rows.take(part if kept is None else kept[part])
        assert row.target is not None
        own = form.of_target(row)
        factor = _with_factors(own, row, upstream, part.stop - start)
        grads = None if hidden_grad is None else hidden_grad[part], weight_grad, start == 0
        found = smoothed_rows(space, smoothed, hidden[part], mean, row.target, factor, store, *grads)
        values[part] = found if own is None else found * own
    return RowsResult(values, hidden_grad, weight_grad, None)


def _differentiate_(form: RowForm, logits: Tensor, rows: Rows, upstream: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """As the form's, with the factors of the rows and *upstream* in the factors."""
    values, scale = form.differentiate_(logits, rows)
    scale = _with_factors(scale, rows, upstream, len(logits))
    if rows.keep is not None and (rows.teacher is not None or rows.soft is not None):
        logits.masked_fill_(~rows.keep[:, None], 0.0)  # 0 times what stands there may be NaN
    return values, scale


def _with_factors(scale: Tensor | None, rows: Rows, upstream: Tensor | None, count: int) -> Tensor | None:
    """Return *scale* times the factors of the rows and *upstream*, (R,) with R = *count*, or None for 1."""
    for factor in (rows.factor, upstream):
        if factor is not None:
            scale = factor if scale is None else scale * factor
    return scale if scale is None or scale.dim() else scale.expand(count)


class _Kept(threading.local):
    """A thread's chunk on a CPU, kept for the next loss: fresh memory costs a page fault for every 4 KiB."""

    store: Tensor | None = None


_KEPT = _Kept()


def _kept_store(rows: int, like: Tensor, classes: int) -> Tensor:
    """Return memory for a chunk of logits, (rows, V), with anything in it."""
    if like.device.type != "cpu" or type(like) not in (Tensor, nn.Parameter) or torch.compiler.is_compiling():
        return like.new_empty(rows, classes)
    needed = rows * classes
    store = _KEPT.store
    if store is None or store.dtype != like.dtype or store.numel() < needed:
        _KEPT.store = None  # before the next one is made, not after
        store = torch.empty(needed, dtype=like.dtype)
        if needed * store.element_size() <= _CHUNK_BYTES[1]:
            _KEPT.store = store
    return store[:needed].view(rows, classes)


def project(hidden: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None) -> Tensor:
    """Return the logits of a chunk of rows, (R, V), in *out* where it is given."""
    if bias is None:
        return torch.mm(hidden, weight.t(), out=out)
    return torch.addmm(bias, hidden, weight.t(), out=out)


def _bound(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> float:
    """Return what no logit exceeds in size, by Cauchy and Schwarz: reading the head once costs less than every logit.

    NaN where an input is not finite; infinity where looking would wait for a device.
    """
    if hidden.device.type != "cpu" or type(hidden) is not Tensor or torch.compiler.is_compiling() or not len(hidden):
        return math.inf
    most = torch.linalg.vector_norm(hidden, dim=1).max() * torch.linalg.vector_norm(weight, dim=1).max()
    return float(most if bias is None else most + bias.abs().max())


class _Gradients:
    """The gradients of hidden states, weight and bias as the chunks come in."""

    def __init__(self, hidden: Tensor, weight: Tensor, needs: Needs, wide: torch.dtype) -> None:
        self._inputs = hidden, weight
        self._same = hidden.dtype == wide
        self._first = True
        empty = len(hidden) == 0
        make = torch.zeros_like if empty else torch.empty_like
        self.hidden = make(hidden, dtype=wide) if needs.hidden else None
        self.weight = make(weight, dtype=wide, memory_format=torch.contiguous_format) if needs.weight else None
        self.bias = weight.new_zeros(len(weight), dtype=wide) if needs.bias else None

    def add(self, gradient: Tensor, part: slice, scale: Tensor) -> None:
        """Add what the logits' gradient, *scale* (R,) times *gradient* (R, V), of the rows *part* carries back."""
        hidden, weight = self._inputs
        column = scale[:, None]
        if self.hidden is not None:
            if self._same:
                torch.mm(gradient, weight, out=self.hidden[part]).mul_(column)
            else:
                self.hidden[part] = torch.mm(gradient, weight)
        if self.weight is not None:
            # the factors go to D features per row, not to V classes; half precision has them already
            states = hidden[part] * column if self._same else hidden[part]
            if not self._same:
                product = torch.mm(gradient.t(), states)
                self.weight.copy_(product) if self._first else self.weight.add_(product)
            elif self._first:
                torch.mm(gradient.t(), states, out=self.weight)
            else:
                self.weight.addmm_(gradient.t(), states)
        if self.bias is not None:
            if self._same:
                self.bias.addmv_(gradient.t(), scale)
            else:
                self.bias.add_(gradient.sum(0, dtype=self.bias.dtype))
        self._first = False

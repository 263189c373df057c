r"""Token losses of hidden states and a head as functions that autograd and ``torch.func`` know.

The gradients are made in the forward pass and multiplied by the upstream gradient in the backward pass. They hold no
graph, so a second derivative is refused. Whoever divides the sum by its weight makes 1 / weight the upstream gradient;
on a CPU, where looking costs nothing, the gradients are made for that one, and the pass over them is spared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from thalweg.loss.linear_chunks import Needs, linear_rows
from thalweg.loss.projected import Projected
from thalweg.loss.token_rows import RowForm, Rows

__all__ = ["linear_rows_loss"]

Reduction = Literal["sum", "none"]


@dataclass(frozen=True)
class _Job:
    """What a call does, apart from its tensors."""

    form: RowForm
    reduction: Reduction
    needs: Needs
    dtype: torch.dtype
    functional: bool  # inside a transform of torch.func
    expected: float = 1.0  # the upstream gradient that the gradients are made for


def linear_rows_loss(
    form: RowForm, output: Projected, rows: Rows, reduction: Reduction, weight_sum: Tensor | int = 1
) -> Tensor:
    """Return the sum of the rows' losses, 0-dim, or each of them, (N,); differentiable in *output*.

    Args:
        form: the loss of a row. The model's own cap on its logits belongs to it.
        output: hidden states (N, D) and head.
        rows: what belongs to the rows; constants for autograd.
        reduction: ``"sum"``: the gradients are made along the way. ``"none"``: they are made in the backward pass,
            when each row's upstream gradient is known, for one more product.
        weight_sum: what the sum is likely to be divided by.

    Raises:
        ValueError: a constant that asks for a gradient.
        RuntimeError: from the backward pass: a second derivative.
    """
    for name in ("soft", "factor", "class_weight"):
        constant = getattr(rows, name)
        if constant is not None and constant.requires_grad:
            what = {"soft": "the soft target", "factor": "the row weight", "class_weight": "the class weight"}[name]
            raise ValueError(
                f"{form.who}: {what} asks for a gradient, and the linear loss has those of hidden states, weight and "
                "bias only; detach it, or pass logits."
            )
    if rows.teacher is not None:  # nothing is learned by the teacher
        rows = rows._replace(
            teacher=rows.teacher.detach(),
            teacher_weight=None if rows.teacher_weight is None else rows.teacher_weight.detach(),
            teacher_bias=None if rows.teacher_bias is None else rows.teacher_bias.detach(),
        )
    hidden, weight, bias = output.scaled(), output.weight, output.bias
    wanted = [torch.is_grad_enabled() and x is not None and _learns(x) for x in (hidden, weight, bias)]
    functional = torch._C._are_functorch_transforms_active()
    dtype = _product_dtype(hidden)
    job = _Job(form, reduction, Needs(*wanted), dtype, functional)
    if any(wanted) and not functional and hidden.device.type == "cpu" and dtype in (torch.float32, torch.float64):
        job = replace(job, expected=_expected(weight_sum, dtype))
    result: Tensor = _LinearRows.apply(job, hidden, weight, bias, *rows)[0]  # type: ignore[no-untyped-call]
    return result


def _expected(weight_sum: Tensor | int, dtype: torch.dtype) -> float:
    """Return 1 / weight as the division of the sum will have it, to the last bit; 1 where it cannot be known."""
    if torch.compiler.is_compiling() or (isinstance(weight_sum, Tensor) and type(weight_sum) is not Tensor):
        return 1.0
    weight = torch.as_tensor(weight_sum).detach().to(dtype)
    return float(weight.reciprocal()) if weight > 0 else 1.0


def _learns(x: Tensor) -> bool:
    """Return whether somebody wants the gradient of *x*.

    A tensor that vmap wraps does not know that the tensor inside belongs to a ``torch.func.grad`` around the vmap.
    """
    while not x.requires_grad and torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return x.requires_grad


def _product_dtype(hidden: Tensor) -> torch.dtype:
    """Return the dtype that a linear layer would compute in here: autocast's, or that of the hidden states."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and hidden.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return hidden.dtype


def _reduce(values: Tensor, factor: Tensor | None, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return values
    return values.sum() if factor is None else torch.where(factor == 0, 0.0, values * factor).sum()


def _over_members(
    function: type[torch.autograd.Function], size: int, in_dims: tuple[int | None, ...], args: tuple[Any, ...]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Return the outputs of *function* for each member of a vmap, stacked.

    One member's chunk already fills the machine, and one at a time keeps the memory that of one.
    """
    outputs = []
    for member in range(size):
        own = [x if dim is None else x.select(dim, member) for x, dim in zip(args, in_dims, strict=True)]
        outputs.append(function.apply(*own))  # type: ignore[no-untyped-call]
    stacked = tuple(torch.stack(parts) for parts in zip(*outputs, strict=True))
    return stacked, (0,) * len(stacked)


class _LinearRows(torch.autograd.Function):
    """(job, hidden, weight, bias, *rows) → (loss, the gradients that are kept for the backward pass)."""

    @staticmethod
    def forward(job: _Job, hidden: Tensor, weight: Tensor, bias: Tensor | None, *parts: Any) -> tuple[Tensor, ...]:
        rows = Rows(*parts)
        needs = job.needs if job.reduction == "sum" else Needs(False, False, False)
        upstream = None if job.expected == 1.0 else hidden.new_full((), job.expected, dtype=job.dtype)
        found = linear_rows(job.form, hidden, weight, bias, rows, needs, job.dtype, upstream)
        kept = [gradient for gradient in found[1:] if gradient is not None]
        return (_reduce(found.values, rows.factor, job.reduction), *kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        job, *tensors = inputs
        ctx.job = job
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        if job.functional:  # saved as outputs, because they may be wrapped
            ctx.kept = None
            ctx.save_for_backward(*tensors, *output[1:])
        else:  # our own, and given away by the backward pass
            ctx.kept = output[1:]
            ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *unused: Any) -> tuple[Any, ...]:
        job: _Job = ctx.job
        inputs = len(Rows._fields) + 3
        nothing = (None,) * len(Rows._fields)
        if upstream is None or not any(job.needs):
            return (None,) * (inputs + 1)
        tensors = ctx.saved_tensors
        hidden, weight, bias, *parts = tensors[:inputs]
        kept = ctx.kept if ctx.kept is not None else tensors[inputs:]
        if not kept:  # reduction="none", or a second pass through a graph that was retained
            found = _Gradient.apply(job, upstream, hidden, weight, bias, *parts)  # type: ignore[no-untyped-call]
        elif torch.is_grad_enabled() or job.functional:
            found = _Scaled.apply(job, upstream / job.expected, hidden, weight, bias, *kept)  # type: ignore[no-untyped-call]
        else:
            ctx.kept = ()
            _multiply_(kept, upstream, job.expected)
            found = tuple(gradient.to(dtype) for gradient, dtype in zip(kept, _dtypes(job, tensors), strict=True))
        return (None, *_spread(job.needs, found), *nothing)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        return _over_members(_LinearRows, info.batch_size, in_dims, args)


def _multiply_(gradients: Sequence[Tensor], upstream: Tensor, expected: float) -> None:
    """Turn gradients made for an upstream gradient of *expected* into those for *upstream*, in place."""
    if expected != 1.0 and float(upstream) == expected:
        return
    factor = upstream / expected
    for gradient in gradients:
        gradient.mul_(factor)


def _dtypes(job: _Job, inputs: Any) -> list[torch.dtype]:
    """Return the dtypes of the inputs whose gradients are wanted."""
    return [x.dtype for x, needed in zip(inputs[:3], job.needs, strict=True) if needed]


def _spread(needs: Needs, found: tuple[Tensor, ...]) -> list[Tensor | None]:
    gradients = iter(found)
    return [next(gradients) if needed else None for needed in needs]


def _refuse_second_derivative(job: _Job) -> RuntimeError:
    return RuntimeError(
        f"{job.form.who}: the linear loss was differentiated twice, and its gradients are made chunk by chunk without "
        "a graph; pass logits (hidden @ weight.T) where second derivatives are needed."
    )


class _Scaled(torch.autograd.Function):
    """(job, upstream, hidden, weight, bias, *gradients) → the gradients times *upstream*, in the inputs' dtypes.

    The inputs are arguments only so that a second derivative arrives here and is refused.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        job: _Job, upstream: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor | None, *kept: Tensor
    ) -> tuple[Tensor, ...]:
        wanted = _dtypes(job, (hidden, weight, bias))
        return tuple((gradient * upstream).to(dtype) for gradient, dtype in zip(kept, wanted, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.job = inputs[0]

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        raise _refuse_second_derivative(ctx.job)


class _Gradient(torch.autograd.Function):
    """(job, upstream, hidden, weight, bias, *rows) → the wanted gradients, made anew."""

    @staticmethod
    def forward(
        job: _Job, upstream: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor | None, *parts: Any
    ) -> tuple[Tensor, ...]:
        rows = Rows(*parts)
        if job.reduction == "none":
            rows = rows._replace(factor=upstream if rows.factor is None else upstream * rows.factor)
        expected = None
        if job.reduction == "sum" and job.expected != 1.0:
            expected = hidden.new_full((), job.expected, dtype=job.dtype)
        found = linear_rows(job.form, hidden, weight, bias, rows, job.needs, job.dtype, expected)
        made = [gradient for gradient in found[1:] if gradient is not None]
        if job.reduction == "sum":  # multiplied afterwards as in the first pass, so that every bit is the same
            _multiply_(made, upstream, job.expected)
        wanted = _dtypes(job, (hidden, weight, bias))
        return tuple(gradient.to(dtype) for gradient, dtype in zip(made, wanted, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.job = inputs[0]

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        raise _refuse_second_derivative(ctx.job)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        return _over_members(_Gradient, info.batch_size, in_dims, args)

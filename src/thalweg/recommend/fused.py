"""The dot-product model's ratings and their gradient in closed form, for the eager step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["fused_ratings", "plain_ratings"]

Range = tuple[float, float] | None


def plain_ratings(
    users: Tensor, items: Tensor, p: Tensor, q: Tensor, b: Tensor, c: Tensor, offset: Tensor, y_range: Range
) -> Tensor:
    r"""Return :math:`l + (h - l)\,\sigma(o + b_u + c_i + p_u^\top q_i)`, **(B,)**, in plain operations.

    Args:
        users, items: rows, **(B,)**.
        p, q: factors, **(n_users, K)** and **(n_items, K)**.
        b, c: biases, **(n_users, 1)** and **(n_items, 1)**.
        offset: o, 0-dim.
        y_range: (l, h), or None for the sum itself.
    """
    total = (p[users] * q[items]).sum(1) + b[users, 0] + c[items, 0] + offset
    return total if y_range is None else torch.sigmoid(total) * (y_range[1] - y_range[0]) + y_range[0]


class _Ratings(torch.autograd.Function):
    """Autograd would make a node of each of fifteen operations, whose bookkeeping is most of a small batch's time."""

    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        items: Tensor,
        p: Tensor,
        q: Tensor,
        b: Tensor,
        c: Tensor,
        offset: Tensor,
        y_range: Range,
    ) -> Tensor:
        own, other = p.index_select(0, users), q.index_select(0, items)
        total = torch.linalg.vecdot(own, other).add_(b.view(-1).index_select(0, users))
        total.add_(c.view(-1).index_select(0, items)).add_(offset)
        if y_range is not None:
            total.sigmoid_()
        ctx.save_for_backward(users, items, p, q, b, c, offset)
        ctx.kept, ctx.y_range = (own, other, total), y_range
        if y_range is None:
            total_again: Tensor = total.clone()
            return total_again
        rating: Tensor = total * (y_range[1] - y_range[0]) + y_range[0]
        return rating

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        users, items, p, q, b, c, offset = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody differentiates the gradient: through the plain operations
            wanted = [t for t in (p, q, b, c) if t.requires_grad]
            rating = plain_ratings(users, items, p, q, b, c, offset, ctx.y_range)
            found = iter(torch.autograd.grad(rating, wanted, grad, create_graph=True))
            return None, None, *(next(found) if t.requires_grad else None for t in (p, q, b, c)), None, None
        own, other, total = ctx.kept
        if ctx.y_range is not None:
            low, high = ctx.y_range
            grad = torch.ops.aten.sigmoid_backward(grad, total) * (high - low)
        column = grad.unsqueeze(1)
        return (
            None,
            None,
            _spread(p, users, other * column),
            _spread(q, items, own * column),
            _spread(b, users, column),
            _spread(c, items, column),
            None,
            None,
        )


def _spread(table: Tensor, rows: Tensor, values: Tensor) -> Tensor | None:
    """Return the gradient of a table from those of the rows taken from it."""
    return torch.zeros_like(table).index_add_(0, rows, values) if table.requires_grad else None


def fused_ratings(
    users: Tensor, items: Tensor, p: Tensor, q: Tensor, b: Tensor, c: Tensor, offset: Tensor, y_range: Range
) -> Tensor:
    """Return what `plain_ratings` returns, with its gradient in closed form; second derivatives work too.

    >>> tables = [torch.full((2, 3), 0.5), torch.full((4, 3), 2.0), torch.ones(2, 1), torch.zeros(4, 1)]
    >>> fused_ratings(torch.tensor([1]), torch.tensor([2]), *tables, torch.tensor(0.5), None)
    tensor([4.5000])
    """
    rating: Tensor = _Ratings.apply(users, items, p, q, b, c, offset, y_range)  # type: ignore[no-untyped-call]
    return rating

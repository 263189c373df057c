"""What stands in the rows that training has not seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dot_product import DotProduct
from .ratings import Ratings

__all__ = ["set_unseen_rows"]

_ROUNDS = 50


@torch.no_grad()
def set_unseen_rows(module: nn.Module, train: Ratings, pairs: Tensor) -> None:
    r"""Give the unknown row, and every row without a training rating, the best constant answer.

    Factors become the mean over the training ratings of the factors of those who gave them. The bias of the unknown
    user becomes the constant with which an unknown user in the place of each rating's user is right on average,

    .. math:: \sum_{(u,i)} \hat r_{0i} = \sum_{(u,i)} r_{ui},

    and likewise for the unknown item. Side features are added to it where they are given, and histories are empty.

    Args:
        module: trained, with the tables of :class:`DotProduct`.
        train: the training part.
        pairs: what the module was trained on, **(n, 2 + effects)**.
    """
    for own, factors, bias, history in (
        (train.users, "user_factors", "user_bias", "user_history"),
        (train.items, "item_factors", "item_bias", "item_history"),
    ):
        counts = torch.bincount(own, minlength=len(module.get_parameter(f"{bias}.weight")))
        unseen = counts == 0
        share = (counts / counts.sum())[None]
        for name in (factors, bias):
            table: Tensor = module.get_parameter(f"{name}.weight")
            table[unseen] = share @ table
        other = getattr(module, history, None)
        if other is not None:  # who has rated nothing stands in nobody's history
            other.weight[unseen] = 0
    if not isinstance(module, DotProduct):
        return
    for column, bias in ((0, "user_bias"), (1, "item_bias")):
        stranger = pairs.clone()
        stranger[:, column] = 0
        table = module.get_parameter(f"{bias}.weight")
        unseen = torch.bincount((train.users, train.items)[column], minlength=len(table)) == 0
        table[unseen] += _shift(module, stranger, train.values)


def _shift(module: DotProduct, pairs: Tensor, ratings: Tensor) -> Tensor:
    """Return what must be added to the sums of *pairs* so that their ratings have the mean of *ratings*, **(M,)**.

    Newton's iteration; a step is at most 1, so that a flat end of the sigmoid cannot throw it away.
    """
    totals = torch.cat([module.totals(part) for part in torch.split(pairs, 1 << 16)]) + module.offset
    wanted = ratings.mean()
    shift = torch.zeros(module.members)
    for _ in range(_ROUNDS):
        if module.y_range is None:
            return wanted - totals.mean(0)
        low, high = module.y_range
        share = torch.sigmoid(totals + shift)
        error = share.mean(0) - (wanted - low) / (high - low)
        step = (error / (share * (1 - share)).mean(0).clamp(min=1e-6)).clamp(-1.0, 1.0)
        shift = shift - step
        if float(step.abs().max()) < 1e-5:
            break
    return shift

"""What stands in the rows that training has not seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dot_product import DotProduct
from .ratings import Ratings

__all__ = ["set_unseen_rows"]

_ROUNDS = 60  # halvings of the interval in which a bias is looked for: to float32's last digit


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
        (train.users, "user_factors", "user_bias", "item_history"),
        (train.items, "item_factors", "item_bias", "user_history"),
    ):
        counts = torch.bincount(own, minlength=len(module.get_parameter(f"{bias}.weight")))
        unseen = counts == 0
        share = (counts / counts.sum())[None]
        for name in (factors, bias):
            table: Tensor = module.get_parameter(f"{name}.weight")
            table[unseen] = share @ table
        other = getattr(module, history, None)
        if other is not None:  # of what nobody has rated, the histories of others say nothing either
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
    """Return what must be added to the sums of *pairs* so that their ratings have the mean of *ratings*, **(M,)**."""
    totals = torch.cat([module.totals(part) for part in torch.split(pairs, 1 << 16)])
    wanted = ratings.double().mean()
    low = torch.full((module.members,), -20.0)
    high = torch.full((module.members,), 20.0)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        too_low = module.rated(totals + middle).double().mean(0) < wanted
        low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
    return (low + high) / 2

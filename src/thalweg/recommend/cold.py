"""What stands in the rows that training has not seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dot_product import DotProduct
from .features import Features
from .ratings import Ratings

__all__ = ["set_unseen_rows"]

_ROUNDS = 50
_AT_ONCE = 1 << 22  # numbers


@torch.no_grad()
def set_unseen_rows(module: nn.Module, train: Ratings, pairs: Tensor, *, features_worked_in: bool = False) -> None:
    r"""Give the unknown row, and every row without a training rating, the best constant answer.

    Factors become the mean over the training ratings of the factors of those who gave them. The bias of the unknown
    user becomes the constant with which an unknown user in the place of each rating's user is right on average,

    .. math:: \sum_{(u,i)} \hat r_{0i} = \sum_{(u,i)} r_{ui},

    and likewise for the unknown item. Side features are added to it where they are given, and histories are empty.

    Args:
        module: trained, with the tables of :class:`DotProduct`.
        train: the training part.
        pairs: what the module was trained on, **(n, 2 + effects)**.
        features_worked_in: the tables hold already what features say, so that rows with features stay as they are.
    """
    sides = (("user", train.users, train.user_features), ("item", train.items, train.item_features))
    unseen = {name: _unseen(module, name, rows, features, features_worked_in) for name, rows, features in sides}
    for name, rows, _ in sides:
        counts = torch.bincount(rows, minlength=len(unseen[name]))
        share = (counts / counts.sum())[None]
        for part in ("factors", "bias"):
            table = module.get_parameter(f"{name}_{part}.weight")
            table[unseen[name]] = share @ table
        history = getattr(module, f"{name}_history", None)
        if history is not None:  # who has rated nothing stands in nobody's history
            history.weight[unseen[name]] = 0
    if not isinstance(module, DotProduct):
        return
    for column, name in enumerate(("user", "item")):
        stranger = pairs.clone()
        stranger[:, column] = 0
        module.get_parameter(f"{name}_bias.weight")[unseen[name]] += _shift(module, stranger, train.values)


def _unseen(module: nn.Module, name: str, rows: Tensor, features: Features | None, worked_in: bool) -> Tensor:
    size = len(module.get_parameter(f"{name}_bias.weight"))
    unseen = torch.bincount(rows, minlength=size) == 0
    if features is not None and worked_in:
        unseen &= (features.values == 0).all(1)
    return unseen


def _shift(module: DotProduct, pairs: Tensor, ratings: Tensor) -> Tensor:
    """Return what must be added to the sums of *pairs* so that their ratings have the mean of *ratings*, **(M,)**.

    Newton's iteration; a step is at most 1, so that a flat end of the sigmoid cannot throw it away.
    """
    width = module.members * (module.n_factors + 1)
    parts = torch.split(pairs, max(1, _AT_ONCE // width))
    if module.y_range is None:
        sums = torch.stack([module.totals(part).double().sum(0) for part in parts]).sum(0)
        return (ratings.double().mean() - module.offset - sums / len(pairs)).float()
    totals = torch.cat([module.totals(part) for part in parts]) + module.offset
    wanted, (low, high) = ratings.mean(), module.y_range
    shift = torch.zeros(module.members)
    for _ in range(_ROUNDS):
        share = torch.sigmoid(totals + shift)
        error = share.mean(0) - (wanted - low) / (high - low)
        step = (error / (share * (1 - share)).mean(0).clamp(min=1e-6)).clamp(-1.0, 1.0)
        shift = shift - step
        if float(step.abs().max()) < 1e-5:
            break
    return shift

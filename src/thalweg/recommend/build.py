"""From settings and ratings to a module, and from a module to a trained one."""

from __future__ import annotations

from fnmatch import filter
from typing import Any

import torch
from torch import Tensor, nn

from thalweg import optim
from thalweg.draw import Bar
from thalweg.learner import Learner

from .dot_product import DotProduct
from .effects import Effects
from .gibbs import Draw, gibbs
from .history import HistoryDotProduct
from .history_kernel import history_kernel
from .lazy_rows import LazyRows
from .neural import NeuralRecommender
from .ratings import Ratings
from .settings import RecommenderSettings

__all__ = ["make_learner", "make_module", "pairs_of", "sample", "train"]


def pairs_of(users: Tensor, items: Tensor, times: Tensor | None, effects: Effects) -> Tensor:
    """Return what the modules take, **(n, 2 + effects)**, int64."""
    return torch.cat([users[:, None], items[:, None], effects.rows(users, times)], dim=1)


def make_module(settings: RecommenderSettings, ratings: Ratings, effects: Effects) -> nn.Module:
    """Return the untrained module; its weights come from torch's global generator."""
    sizes = (len(ratings.user_ids), len(ratings.item_ids))
    common: dict[str, Any] = {
        "offset": offset_of(settings.y_range, float(ratings.values.double().mean())),
        "members": settings.members,
        "effects": effects.sizes,
        "user_features": None if ratings.user_features is None else ratings.user_features.values,
        "item_features": None if ratings.item_features is None else ratings.item_features.values,
    }
    if settings.solver == "gibbs":  # its draws lie side by side, without a range and with the features worked in
        plain = {"offset": common["offset"], "members": settings.samples, "effects": effects.sizes}
        return DotProduct(*sizes, settings.n_factors, None, **plain)
    if settings.use_nn:
        return NeuralRecommender(
            *sizes,
            settings.y_range,
            emb_szs=settings.emb_szs,
            layers=settings.layers,
            dropout=settings.dropout,
            embed_p=settings.embed_p,
            **common,
        )
    if settings.history:
        seen = torch.stack([ratings.users, ratings.items], dim=1)
        return HistoryDotProduct(*sizes, settings.n_factors, settings.y_range, seen=seen, **common)
    return DotProduct(*sizes, settings.n_factors, settings.y_range, **common)


def offset_of(y_range: tuple[float, float] | None, mean: float) -> float:
    """Return where sums begin so that predictions begin at *mean*; it lies inside the range."""
    if y_range is None:
        return mean
    low, high = y_range
    share = torch.tensor((mean - low) / (high - low), dtype=torch.float64)
    return float(torch.logit(share.clamp(1e-3, 1 - 1e-3)))


def make_learner(settings: RecommenderSettings, module: nn.Module) -> Learner:
    """Return the learner: AdamW with a decay for each side, and the mean over members of each one's squared error."""
    members = settings.members if settings.solver != "gibbs" else 1
    decays = {
        "user_factors*": settings.wd if settings.user_wd is None else settings.user_wd,
        "item_factors*": settings.wd if settings.item_wd is None else settings.item_wd,
        "*_bias*": settings.bias_wd,
    }
    # The mean over M members divides each one's gradient by M; Adam divides by its size again, save for its epsilon.
    rule = optim.AdamW(lr=settings.lr, betas=(0.9, 0.99), eps=1e-8 / members, weight_decay=settings.wd)
    names = [name for name, _ in module.named_parameters()]
    used = {key: {"weight_decay": value} for key, value in decays.items() if filter(names, key)}
    return Learner(
        module,
        rule,
        "mse" if members == 1 else member_squares,
        no_decay=None,
        overrides=used,
        seed=settings.seed,
        device=settings.device,
    )


def member_squares(output: Tensor, target: Tensor) -> Tensor:
    """Return each row's squared error, the mean over the members where there are several; **(B,)**."""
    if output.ndim == 1:
        return (output - target).square()
    return (output - target[:, None]).square().mean(1)


def train(settings: RecommenderSettings, learner: Learner, pairs: Tensor, ratings: Tensor, **fit: Any) -> None:
    """Train under one cycle."""
    hooks = [*fit.pop("hooks", ()), *([LazyRows()] if settings.rows == "lazy" else [])]
    learner.fit_one_cycle(
        (pairs, ratings), settings.epochs, settings.lr, batch_size=settings.batch_size, hooks=hooks, moms=None, **fit
    )


def sample(
    settings: RecommenderSettings, module: nn.Module, ratings: Ratings, effects: Effects, verbose: bool
) -> float:
    """Fill *module* with draws from the posterior, and return the standard deviation of the noise."""
    assert isinstance(module, DotProduct)
    users, items = ratings.users, ratings.items
    sizes = (len(ratings.user_ids), len(ratings.item_ids))
    features = [None if f is None else f.values for f in (ratings.user_features, ratings.item_features)]
    kernels = (
        history_kernel(users, items, *sizes, history=settings.history, features=features[0]),
        history_kernel(items, users, *sizes[::-1], history=settings.history, features=features[1]),
    )
    groups = effects.rows(users, ratings.times)
    draws = gibbs(
        users,
        items,
        ratings.values - module.offset.cpu(),
        kernels,
        sizes,
        n_factors=settings.n_factors,
        effects=[(groups[:, k].contiguous(), size) for k, size in enumerate(effects.sizes)],
        freedom=settings.freedom,
        seed=settings.seed,
    )
    noise = 0.0
    with Bar("drawing", verbose) as bar:
        bar.total = settings.burn_in + settings.samples
        for number in range(settings.burn_in + settings.samples):
            draw = next(draws)
            if number >= settings.burn_in:
                _put(module, number - settings.burn_in, draw)
                noise += draw.noise / settings.samples
            bar.add(1)
    return noise


@torch.no_grad()
def _put(module: DotProduct, member: int, draw: Draw) -> None:
    k = module.n_factors
    for table, bias, vectors in (
        (module.user_factors, module.user_bias, draw.users),
        (module.item_factors, module.item_bias, draw.items),
    ):
        table.weight[:, member * k : (member + 1) * k] = vectors[:, :-1]
        bias.weight[:, member] = vectors[:, -1]
    for effect, values in zip(module.effects, draw.effects, strict=True):
        effect.get_parameter("weight")[1:, member] = values[1:]

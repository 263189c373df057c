"""Training mode that leaves the statistics of frozen layers alone."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["held_norms", "train_mode"]


def train_mode(module: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Put *module* into training mode, but the frozen BatchNorm layers into evaluation mode.

    Args:
        module: the model, or a compiled form that trains it.
        optimizer: a param group with ``update_stats`` lets its frozen layers estimate their statistics all the same.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).requires_grad_(False))
    >>> train_mode(model)
    >>> model[0].training, model[1].training
    (True, False)
    """
    module.train()
    for norm in held_norms(module, optimizer):
        norm.eval()


def held_norms(module: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> list[nn.Module]:
    """Return the normalisation layers with running statistics that are frozen.

    A layer without parameters of its own goes with the smallest part of the model around it that has some.
    """
    norms = [
        (path, part)
        for path, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._NormBase) and part.track_running_stats
    ]
    if not norms:
        return []
    asked = {
        id(param)
        for group in (optimizer.param_groups if optimizer is not None else ())
        if group.get("update_stats")
        for param in group["params"]
    }
    held: list[nn.Module] = []
    for path, norm in norms:
        params = _nearest_parameters(module, path)
        if params and not any(param.requires_grad for param in params) and not any(id(p) in asked for p in params):
            held.append(norm)
    return held


def _nearest_parameters(module: nn.Module, path: str) -> list[nn.Parameter]:
    while True:
        params = list(module.get_submodule(path).parameters())
        if params or not path:
            return params
        path = path.rpartition(".")[0]

"""Several members as one model that predicts their mean."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..loss import Loss
from ..objective import logits_of
from .initial import Weights

__all__ = ["Ensemble", "filled"]


def filled(template: nn.Module, weights: Weights) -> nn.Module:
    """Return an ordinary module, in evaluation mode, with these parameters and buffers; a copy of *template*."""
    module = copy.deepcopy(template).eval()
    params, buffers = weights
    with torch.no_grad():
        for name, param in module.named_parameters():
            param.copy_(params[name])
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])
    return module


class Ensemble(nn.Module):
    r"""The mean of several models' predictions, :math:`\bar p(x) = \frac1k \sum_i p_i(x)`.

    Predictions, not raw outputs, are averaged: probabilities where the loss has an activation.

    Args:
        models: of one shape, **k** of them.
        loss: whose ``predict`` makes predictions of outputs.

    Shapes:
        as one model's predictions, (B, …).

    >>> import thalweg as tw
    >>> a, b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(a.weight, 1.0), nn.init.constant_(b.weight, 3.0)
    >>> Ensemble([a, b], tw.loss.MSE())(torch.ones(1, 1)).item()
    2.0
    """

    def __init__(self, models: Sequence[nn.Module], loss: Loss) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.loss = loss

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the mean prediction."""
        found = [self.loss.predict(logits_of(model(*args, **kwargs))) for model in self.models]
        return torch.stack(found).mean(dim=0)

"""Small trainings for races, and the same training alone, by a learner."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.race import Candidate


def rows(n: int = 96, p: int = 6, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows and numbers that a small net can learn."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=generator, dtype=dtype)
    return x, torch.tanh(x[:, :2].sum(1, keepdim=True)) + 0.1 * torch.randn(n, 1, generator=generator, dtype=dtype)


def classes(n: int = 96, p: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Rows and three classes."""
    x, y = rows(n, p, dtype)
    return x, torch.bucketize(y[:, 0], torch.tensor([-0.4, 0.4], dtype=dtype))


def mlp(out: int = 1, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, out)).to(dtype)


class Residual(nn.Module):
    """No chain: what vmap is for."""

    def __init__(self, out: int = 1) -> None:
        super().__init__()
        self.enter, self.mix, self.leave = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, out)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.enter(x))
        return self.leave(h + torch.relu(self.mix(h)))


def alone(
    model: nn.Module, candidate: Candidate, data: tuple[Tensor, Tensor], loss: Any, epochs: int, **settings: Any
) -> tuple[nn.Module, tw.History]:
    """The same training by a learner: its own fit, from the same weights through the same batches."""
    own = copy.deepcopy(model)
    setting = candidate.setting
    made = tw.loss.make(loss)
    if candidate.label_smoothing is not None:
        made = tw.loss.make(loss, label_smoothing=candidate.label_smoothing)
    learner = tw.Learner(
        own, setting.rule, made, schedule=dict(setting.schedules) or None, clip_norm=setting.clip_norm,
        clip_value=setting.clip_value, seed=0 if candidate.order is None else candidate.order, device="cpu",
        step="eager", penalty=settings.pop("penalty", None),
    )  # fmt: skip
    history = learner.fit(data, epochs=epochs, batch_size=16, verbose=False, **settings)
    with learner.evaluating():
        return copy.deepcopy(own), history


def furthest(a: nn.Module, b: nn.Module) -> float:
    """The largest distance between two models' parameters, relative to the largest parameter."""
    pairs = list(zip(a.parameters(), b.parameters(), strict=True))
    scale = max(1.0, max(float(q.detach().abs().max()) for _, q in pairs))
    return max(float((p - q).detach().abs().max()) for p, q in pairs) / scale

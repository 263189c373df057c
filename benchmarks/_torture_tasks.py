"""The trainings that `torture.py` kills: five kinds, each a function from a directory to a learner and its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import thalweg as tw

Made = tuple[tw.Learner, Any, dict[str, Any]]


def mlp(folder: Path) -> Made:
    """MLP with dropout under a one-cycle schedule, Adam."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(600, 16, generator=generator), torch.randint(0, 4, (600,), generator=generator)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 4))
    learner = tw.Learner(model, "adam", "cross_entropy", ["accuracy"], schedule="one_cycle", seed=1, device="cpu")
    return learner, (x, y), {"epochs": 6, "batch_size": 10, "valid": (x[:100], y[:100])}


def convnet(folder: Path) -> Made:
    """Convolutions with BatchNorm, SGD with momentum and clipping."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 1, 8, 8, generator=generator), torch.randint(0, 3, (256,), generator=generator)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.Flatten(),
        nn.Linear(8 * 16, 3),
    )  # fmt: skip
    rule = tw.optim.SGD(lr=0.05, momentum=0.9)
    learner = tw.Learner(model, rule, "cross_entropy", schedule="cosine", clip_norm=1.0, seed=1, device="cpu")
    return learner, (x, y), {"epochs": 15, "batch_size": 8}


class Factors(nn.Module):
    """Two embeddings and their biases: the scalar product of a user and an item."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(60, 9), nn.Embedding(80, 9)

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(1, keepdim=True)


def recommender(folder: Path) -> Made:
    """User and item factors with a penalty, AdamW."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.stack([torch.randint(0, n, (900,), generator=generator) for n in (60, 80)], dim=1)
    ratings = 1 + 4 * torch.rand(900, 1, generator=generator)
    learner = tw.Learner(Factors(), "adamw", "mse", penalty=tw.L2(1e-4), schedule="one_cycle", seed=1, device="cpu")
    return learner, (pairs, ratings), {"epochs": 12, "batch_size": 15}


class Characters(nn.Module):
    """A small recurrent language model over characters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.recur, self.out = nn.Embedding(20, 12), nn.GRU(12, 16, batch_first=True), nn.Linear(16, 20)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.dropout(self.recur(self.embed(x))[0])).flatten(0, 1)


def char_lm(folder: Path) -> Made:
    """Character language model with dropout, three micro-batches to an update."""
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(0, 20, (360, 13), generator=generator)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        rows = nn.functional.cross_entropy(output, target.flatten(), reduction="none")
        return rows.view(len(target), -1).mean(1)

    learner = tw.Learner(Characters(), "adamw", loss, schedule="cosine", clip_norm=1.0, seed=1, device="cpu")
    return learner, (text[:, :-1], text[:, 1:]), {"epochs": 8, "batch_size": 4, "accumulate": 3}


def stream(folder: Path) -> Made:
    """Rows streamed from files."""
    path = folder / "rows.npy"
    if not path.exists():
        rng = np.random.default_rng(0)
        np.save(path, rng.standard_normal((1500, 9)).astype(np.float32))
    source = tw.data.stream(str(path), target=8, batch_size=16, seed=4)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1), nn.Flatten(0))
    return tw.Learner(model, "adam", "mse", seed=1, device="cpu"), source, {"epochs": 5}


TASKS: dict[str, Callable[[Path], Made]] = {
    "mlp": mlp,
    "convnet": convnet,
    "recommender": recommender,
    "char_lm": char_lm,
    "stream": stream,
}

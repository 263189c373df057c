"""The tasks that the finder's suggestions are scored on: small enough for one core, best rates far apart."""

from __future__ import annotations

import argparse
import ast
import doctest
import inspect
import itertools
import optparse
import pickle
import tarfile
import typing
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import thalweg as tw

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """A model, its data and the length of the training that is scored.

    Attributes:
        name: of the task.
        model: makes the model; the global generator decides its weights.
        data: makes (train, valid).
        loss: the loss's name.
        batch_size: rows per step.
        steps: updates of the scored training.
    """

    name: str
    model: Callable[[], nn.Module]
    data: Callable[[], tuple[Pair, Pair]]
    loss: str
    batch_size: int
    steps: int


class CharTransformer(nn.Module):
    """A causal transformer over characters: **(B, T)** int64 → **(B, V, T)** logits, as cross entropy takes them."""

    def __init__(
        self, vocabulary: int = 128, width: int = 32, heads: int = 2, layers: int = 1, context: int = 16
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(0.02 * torch.randn(context, width))
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.places[: x.shape[1]]
        h = self.body(h, mask=self.mask[: x.shape[1], : x.shape[1]], is_causal=True)
        logits: Tensor = self.head(self.norm(h)).transpose(1, 2)
        return logits


def _digits() -> tuple[Pair, Pair]:
    data = tw.data.load("digits")
    (xv, yv), (xt, yt) = data.valid, data.test
    return data.train, (torch.cat([xv, xt]), torch.cat([yv, yt]))


def _mnist() -> tuple[Pair, Pair]:
    data = tw.data.load("mnist")
    return data.train, (data.valid[0][:2000], data.valid[1][:2000])


def _fashion() -> tuple[Pair, Pair]:
    data = tw.data.load("fashion-mnist", flat=False)
    (x, y), (xv, yv) = data.train, data.valid
    return (x[:20_000], y[:20_000]), (xv[:2000], yv[:2000])


def _linear() -> tuple[Pair, Pair]:
    # Features of unlike size, as in tables that nobody scaled: the curvatures span a factor of 400.
    data = tw.data.load("linear", n=10_000, features=10, noise=0.5)
    scale = torch.logspace(0.2, 1.5, 10)
    (x, y), (xv, yv) = data.train, data.valid
    return (x * scale, y), (xv * scale, yv)


def _text() -> tuple[Pair, Pair]:
    # The standard library's own source: text that is there wherever Python is.
    modules = (argparse, ast, doctest, inspect, optparse, pickle, tarfile, typing)
    source = "".join(inspect.getsource(module) for module in modules)
    codes = torch.frombuffer(bytearray(source, "utf-8"), dtype=torch.uint8).long().clamp(max=127)
    windows = codes[: len(codes) // 17 * 17].view(-1, 17)
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))
    train, valid = windows[order[:-1024]], windows[order[-1024:]]
    return (train[:, :-1].contiguous(), train[:, 1:].contiguous()), (
        valid[:, :-1].contiguous(),
        valid[:, 1:].contiguous(),
    )


def _mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _convnet() -> nn.Module:
    return nn.Sequential(
        nn.AvgPool2d(2),
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(784, 10),
    )  # fmt: skip


TASKS = {
    task.name: task
    for task in (
        Task("digits", lambda: _mlp(64, 128, 10), _digits, "cross_entropy", 32, 800),
        Task("mnist", lambda: _mlp(784, 50, 10), _mnist, "cross_entropy", 64, 800),
        Task("fashion-conv", _convnet, _fashion, "cross_entropy", 32, 800),
        Task("least-squares", lambda: nn.Linear(10, 1), _linear, "mse", 64, 800),
        Task("char-transformer", CharTransformer, _text, "cross_entropy", 16, 800),
    )
}

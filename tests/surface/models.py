"""Models of every kind that the ways to compute must agree on, with data and loss, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import thalweg as tw


class Custom(nn.Module):
    """A chain written as a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


class Residual(nn.Module):
    """No chain: the input is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(x + torch.relu(self.a(x)))


class Tied(nn.Module):
    """Reads a weight past its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)) @ self.a.weight)


class Viewing(nn.Module):
    """A convnet that counts on how its activations lie in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.max_pool2d(torch.relu(self.a(x)), 2)
        return self.b(h.view(len(h), -1))


class Recurrent(nn.Module):
    """A kernel that cannot be stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x.reshape(len(x), 2, 2))[0][:, -1])


class Branching(nn.Module):
    """Python that looks at values."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return h * 2 if float(h.detach().sum()) > 0 else h


def rows(count: int, features: int = 4, kind: str = "classes", seed: int = 3) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, features, generator=g, dtype=torch.float64)
    if kind == "classes":
        return x, torch.randint(0, 3, (count,), generator=g)
    if kind == "weighted":
        return x, torch.randint(0, 3, (count,), generator=g), torch.rand(count, generator=g, dtype=torch.float64)
    return x, torch.randn(count, 1, generator=g, dtype=torch.float64)


def images(count: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(5)
    return torch.randn(count, 1, 6, 6, generator=g, dtype=torch.float64), torch.randint(0, 3, (count,), generator=g)


@dataclass(frozen=True)
class Case:
    name: str
    model: Callable[[], nn.Module]
    data: Callable[[], Any]
    loss: Any
    way: str  # how the name of the way begins
    penalty: Any = None


def ignoring() -> Any:
    x, y = rows(90)
    return x, torch.where(torch.arange(90) % 4 == 0, -100, y)


CASES = [
    Case("linear", lambda: nn.Linear(4, 1), lambda: rows(70, kind="numbers"), "mse", "stacked, features"),
    Case("mlp", lambda: nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 5), nn.GELU(), nn.Linear(5, 3)),
         lambda: rows(90), "cross_entropy", "stacked, features"),
    Case("mlp, no bias, ignored targets", lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 9, bias=False), nn.SiLU(),
         nn.Dropout(0.5), nn.Linear(9, 3)), ignoring, "cross_entropy", "stacked, features"),
    Case("mlp, row weights", lambda: nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3)),
         lambda: rows(90, kind="weighted"), "cross_entropy", "stacked, features"),
    Case("mlp, penalty", lambda: nn.Sequential(nn.Linear(4, 9), nn.Sigmoid(), nn.Linear(9, 1)),
         lambda: rows(60, kind="numbers"), "mse", "stacked, features", tw.L2(0.01)),
    Case("mlp, a loss of one's own", lambda: nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 1)),
         lambda: rows(60, kind="numbers"), lambda o, t: (o - t).abs().pow(1.5).sum(1), "stacked, features"),
    Case("batch norm", lambda: nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3)),
         lambda: rows(90), "cross_entropy", "stacked, features"),
    Case("layer norm", lambda: nn.Sequential(nn.Linear(4, 9), nn.LayerNorm(9), nn.ReLU(), nn.Linear(9, 3)),
         lambda: rows(90), "cross_entropy", "stacked"),
    Case("custom forward", Custom, lambda: rows(90), "cross_entropy", "stacked, features"),
    Case("residual", Residual, lambda: rows(90), "cross_entropy", "stacked"),
    Case("weight read past its layer", Tied, lambda: rows(90), "cross_entropy", "stacked"),
    Case("recurrent", Recurrent, lambda: rows(40), "cross_entropy", "one at a time"),
    Case("branching", Branching, lambda: rows(40), "cross_entropy", "one at a time"),
    Case("convnet with a view", Viewing, lambda: images(30), "cross_entropy", "one at a time"),
    Case("convnet", lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
         nn.Conv2d(4, 6, 2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 3)),
         lambda: images(50), "cross_entropy", "one at a time"),
]  # fmt: skip


def learner_of(case: Case) -> tw.Learner:
    torch.manual_seed(11)
    model = case.model().double()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # statistics that are not those of a fresh layer
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return tw.compile(model, optimizer="sgd", lr=0.1, loss=case.loss, penalty=case.penalty, seed=0)


def independent(learner: tw.Learner, data: Any, params: Mapping[str, Tensor]) -> float:
    """Return the loss at *params* by writing them into a copy of the model and calling it on all rows."""
    model = copy.deepcopy(learner.module).eval()
    with torch.no_grad():
        for name, param in model.named_parameters():
            param.copy_(params[name])
        parts = tw.data.split(data)
        total, weight = learner.loss(model(*parts.args, **parts.kwargs), parts.target, parts.row_weight)
        value = float(total) / float(weight)
        if learner.penalty is not None:
            value += float(learner.penalty(dict(model.named_parameters())))
    return value


def direction_of(model: nn.Module, seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {n: 0.3 * torch.randn(p.shape, generator=g, dtype=torch.float64) for n, p in model.named_parameters()}


def grid(learner: tw.Learner, data: Any, d1: Any, d2: Any, alphas: Any, betas: Any) -> np.ndarray[Any, Any]:
    held = {name: param.detach() for name, param in learner.module.named_parameters()}
    return np.array(
        [
            [independent(learner, data, {n: held[n] + a * d1[n] + b * d2[n] for n in held}) for b in betas]
            for a in alphas
        ]
    )

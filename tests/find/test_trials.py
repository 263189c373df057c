"""Trials as members of a stack are the trials one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.find import Finding, verify
from thalweg.find.trials import OneByOne, Stacked
from thalweg.race.stack import Stack

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(160, 6, generator=GENERATOR, dtype=torch.float64)
Y = torch.tanh(X[:, :2].sum(1, keepdim=True)) + 0.1 * torch.randn(160, 1, generator=GENERATOR, dtype=torch.float64)


class Bent(nn.Module):
    """No chain of layers: what `vmap` is for."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.enter(x))
        out: torch.Tensor = self.leave(h + h.square())
        return out


def chain(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), *between, nn.ReLU(), nn.Linear(8, 1))


def learner(model: Callable[[], nn.Module], optimizer: Any, **settings: Any) -> tw.Learner:
    torch.manual_seed(0)
    return tw.Learner(model().double(), optimizer, "mse", device="cpu", seed=0, **settings)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of members whenever a stack is advanced."""
    seen: list[int] = []
    advance = Stack.advance

    def spy(stack: Stack, count: int) -> Any:
        seen.append(len(stack))
        return advance(stack, count)

    monkeypatch.setattr(Stack, "advance", spy)
    return seen


def both(monkeypatch: pytest.MonkeyPatch, make: Callable[[], tw.Learner], **settings: Any) -> tuple[Finding, Finding]:
    """Return what is found stacked, and one after the other."""
    given: dict[str, Any] = {"valid": (X[:64], Y[:64]), "batch_size": 32, "steps": 30, "verify": True, **settings}
    seen = counted(monkeypatch)
    stacked = make().lr_find((X[64:], Y[64:]), **given)
    assert max(seen) >= 2
    seen.clear()
    original = verify.__globals__["trainer_of"]

    def alone(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        assert isinstance(made, Stacked)
        return OneByOne(made.parts, made.snapshot, made.deciding)

    monkeypatch.setitem(verify.__globals__, "trainer_of", alone)
    single = make().lr_find((X[64:], Y[64:]), **given)
    assert not seen
    return stacked, single


MAKERS: dict[str, Callable[[], tw.Learner]] = {
    "sgd": lambda: learner(chain, "sgd"),
    "adamw, groups and clipping": lambda: learner(chain, tw.optim.AdamW(weight_decay=0.1), clip_norm=0.5),
    "frozen layer": lambda: learner(chain, "adam").freeze_to(1) or learner(chain, "adam"),
    "batch norm, penalty": lambda: learner(lambda: chain(nn.BatchNorm1d(8)), "adam", penalty=tw.L2(1e-2)),
    "muon-like matrix rule": lambda: learner(chain, tw.optim.Adafactor(lr=1e-2)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_stacked_and_one_after_the_other_find_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stacked, single = both(monkeypatch, MAKERS[name], verify_steps=9)
    assert stacked.suggestion == single.suggestion
    assert stacked.updates == single.updates
    assert [(t.lr, t.steps) for t in stacked.trials] == [(t.lr, t.steps) for t in single.trials]
    assert np.allclose([t.loss for t in stacked.trials], [t.loss for t in single.trials], rtol=1e-9)


def test_a_rate_that_diverges_ends_at_the_same_update(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> tw.Learner:
        torch.manual_seed(0)
        return tw.Learner(nn.Linear(6, 1).double(), "sgd", "mse", device="cpu", seed=0)

    stacked, single = both(monkeypatch, make, low=30.0, high=1e30, steps=20, verify_steps=60)
    assert stacked.trials == single.trials
    assert any(trial.loss == float("inf") and trial.steps < 60 for trial in stacked.trials)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (lambda: learner(lambda: chain(nn.Dropout(0.2)), "adam"), {}),
        (lambda: learner(Bent, "adam"), {}),  # short, and no chain: measuring would take longer than it saves
        (lambda: learner(chain, lambda params: torch.optim.Adam(params, lr=1e-3)), {}),
        (lambda: learner(chain, tw.optim.ScheduleFreeAdamW()), {}),
        (lambda: learner(chain, "adam"), {"accumulate": 2}),
    ],
    ids=["dropout", "vmap", "torch's optimizer", "averaged weights", "accumulation"],
)
def test_what_a_stack_would_compute_otherwise_goes_one_after_the_other(
    make: Callable[[], tw.Learner], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = counted(monkeypatch)
    found = make().lr_find((X, Y), batch_size=32, steps=30, verify=True, verify_steps=6, **settings)
    assert found.trials
    assert not seen

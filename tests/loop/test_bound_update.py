"""An update whose questions were asked beforehand is the update, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.engine import RuleOptimizer
from thalweg.loop import Hook


class Watching(Hook):
    """Is called after every step, so that the loop takes nothing for granted."""

    def on_step_end(self, run: Any) -> None:
        pass


class Bag(nn.Module):
    """An embedding with sparse gradients before a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 4, sparse=True)
        self.out = nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        output: Tensor = self.out(self.table(ids))
        return output


def dense() -> tuple[nn.Module, Tensor]:
    module = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2))
    return module, torch.randn(40, 6)


def sparse() -> tuple[nn.Module, Tensor]:
    return Bag(), torch.randint(0, 12, (40,))


def trained(kind: Any, options: dict[str, Any], *hooks: Hook) -> list[Tensor]:
    torch.manual_seed(0)
    module, x = kind()
    y = torch.randint(0, 2, (40,))
    learner = tw.Learner(module, loss="cross_entropy", seed=0, device="cpu", **options)
    learner.fit((x, y), epochs=3, batch_size=8, hooks=hooks, verbose=False)
    return [p.detach().clone() for p in learner.model.parameters()]


CASES = {
    "adam": (dense, {"optimizer": "adam", "lr": 0.01}, True),
    "decayed groups": (dense, {"optimizer": tw.optim.AdamW(lr=0.01, weight_decay=0.1)}, True),
    "momentum that is zero in between": (
        dense,
        {"optimizer": "sgd", "lr": 0.01, "schedule": {"momentum": lambda step: 0.9 * (step % 3 != 0)}},
        True,
    ),
    "averaged": (dense, {"optimizer": tw.optim.Averaged(tw.optim.Adam(lr=0.01), decay=0.9)}, True),
    "clipped": (dense, {"optimizer": "adam", "lr": 0.01, "clip_norm": 0.5}, False),
    "sparse gradients": (sparse, {"optimizer": "sgd", "lr": 0.01}, True),  # bound, and asked for all the same
}


@pytest.mark.parametrize(("kind", "options", "binds"), CASES.values(), ids=CASES.keys())
def test_the_bound_update_is_the_update(
    kind: Any, options: dict[str, Any], binds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "momentum" in options.get("schedule", {}):
        options = {**options, "optimizer": tw.optim.SGD(lr=0.01, momentum=0.9)}
    asked = trained(kind, options, Watching())
    calls = 0
    apply = RuleOptimizer.apply

    def counted(self: RuleOptimizer, *args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        apply(self, *args, **kwargs)

    monkeypatch.setattr(RuleOptimizer, "apply", counted)
    bound = trained(kind, options)
    assert calls == (3 if binds else 15)  # once per epoch, or at each of the 15 steps
    for ours, theirs in zip(bound, asked, strict=True):
        assert torch.equal(ours, theirs)


def test_a_change_between_epochs_is_seen() -> None:
    torch.manual_seed(0)
    module, x = dense()
    y = torch.randint(0, 2, (40,))
    learner = tw.Learner(module, optimizer="adam", lr=0.01, loss="cross_entropy", device="cpu")
    learner.fit((x, y), epochs=1, batch_size=8, verbose=False)
    head = module[3].weight.detach().clone()
    body = module[0].weight.detach().clone()
    for param in module[3].parameters():
        param.requires_grad_(False)
    learner.fit((x, y), epochs=1, batch_size=8, verbose=False)
    assert torch.equal(module[3].weight, head)
    assert not torch.equal(module[0].weight, body)

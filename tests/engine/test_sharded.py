"""Parameters sharded by FSDP2 over two gloo processes: rules by element update them, others refuse by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from tests.loop.test_processes import one_thread, pytestmark, together

__all__ = ["one_thread", "pytestmark"]

RULES = {
    "sgd": tw.optim.SGD(lr=0.1, momentum=0.9, weight_decay=0.01),
    "adagrad": tw.optim.Adagrad(lr=0.1),
    "adamw": tw.optim.AdamW(lr=1e-2),
    "nadam": tw.optim.NAdam(lr=1e-2),
    "rmsprop": tw.optim.RMSprop(lr=1e-2),
    "lion": tw.optim.Lion(lr=1e-3),
    "lookahead": tw.optim.Lookahead(tw.optim.AdamW(lr=1e-2), k=2),
}
WHOLE = {
    "Muon": tw.optim.Muon(lr=0.1, other=tw.optim.AdamW(lr=1e-2)),
    "Adafactor": tw.optim.Adafactor(lr=1e-2),
}


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 6, generator=generator), torch.randn(8, 3, generator=generator)


def sharded_over(world_size: int) -> nn.Sequential:
    """An MLP, sharded layer by layer where there are several processes."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3))  # nine rows do not divide by two
    if world_size > 1:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (world_size,))
        for layer in (module[0], module[2], module):
            fully_shard(layer, mesh=mesh)
    return module


def train(rank: int, world_size: int, rule: tw.optim.Rule, **settings: Any) -> list[Tensor]:
    module, (x, y) = sharded_over(world_size), data()
    optimizer = rule.optimizer(module.parameters(), **settings)
    for _ in range(4):
        loss = ((module(x[rank::world_size]) - y[rank::world_size]) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [(p if world_size == 1 else p.full_tensor()).detach().clone() for p in module.parameters()]


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.5}, {"clip_norm": 0.5, "engine": "compiled"}], ids=str)
def test_rules_by_element_train_as_on_one_process(tmp_path: Path, settings: dict[str, Any]) -> None:
    alone = {name: train(0, 1, rule, **settings) for name, rule in RULES.items()}
    both = together(tmp_path, 2, lambda rank: {name: train(rank, 2, rule, **settings) for name, rule in RULES.items()})
    for name, weights in alone.items():
        for one in both:
            for mine, theirs in zip(one[name], weights, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6, msg=name)


def test_rules_that_need_whole_tensors_refuse_by_name(tmp_path: Path) -> None:
    def refused(rank: int) -> dict[str, str]:
        said = {}
        for name, rule in WHOLE.items():
            with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is looked at below
                rule.optimizer(sharded_over(2).parameters())
            said[name] = str(error.value)
        learner = tw.Learner(sharded_over(2), "adamw", "mse", device="cpu")
        with pytest.raises(ValueError, match=r"fit: the parameters are sharded") as refusal:
            learner.fit(data(), verbose=False)
        said["learner"] = str(refusal.value)
        return said

    said = together(tmp_path, 2, refused)[0]
    assert said["Muon"].startswith(
        "Muon: looks at a whole matrix of weights, but a parameter of shape (9, 6) is sharded"
    )
    assert said["Adafactor"].startswith("Adafactor: looks at a whole tensor of weights")
    assert "over 2 processes" in said["Muon"]
    assert "a loop of your own" in said["learner"]

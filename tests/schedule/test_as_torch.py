"""Our schedules as torch schedulers in someone else's loop."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler

from thalweg.schedule import (
    Constant,
    Cosine,
    Linear,
    OneCycle,
    ReduceOnPlateau,
    ScheduleLR,
    Step,
    Warmup,
    as_torch,
    resolve,
)

TOTAL = 300


def adamw(**settings: object) -> torch.optim.AdamW:
    groups = [{"params": [torch.ones(3, requires_grad=True)], "lr": lr} for lr in (1e-3, 1e-2)]
    return torch.optim.AdamW(groups, **settings)  # type: ignore[arg-type]


def train(optimizer: torch.optim.Optimizer, scheduler: LRScheduler, steps: int) -> list[list[float]]:
    """Step both; return lr, beta1 and decay of both groups at each update."""
    seen = []
    for _ in range(steps):
        seen.append([x for g in optimizer.param_groups for x in (g["lr"], g["betas"][0], g["weight_decay"])])
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = parameter.detach().clone()
        optimizer.step()
        scheduler.step()
    return seen


GIVEN = {"lr": OneCycle(), "weight_decay": Warmup("10%") >> Linear()}


def test_is_torch_s_and_sets_every_hyperparameter() -> None:
    optimizer = adamw()
    scheduler = as_torch(GIVEN, optimizer, TOTAL)
    assert isinstance(scheduler, LRScheduler)
    seen = np.array(train(optimizer, scheduler, TOTAL))
    found = resolve(GIVEN, TOTAL)
    steps = np.arange(TOTAL)
    for group, base in enumerate((1e-3, 1e-2)):
        assert np.array_equal(seen[:, 3 * group], found["lr"].value(steps, base))
        assert np.array_equal(seen[:, 3 * group + 1], found["momentum"].value(steps, 0.9))
        assert np.array_equal(seen[:, 3 * group + 2], found["weight_decay"].value(steps, 0.01))
    assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]


@pytest.mark.parametrize("stop", [0, 1, 255, 256, 257, 299])
@pytest.mark.parametrize("optimizer_first", [True, False])
def test_resumes_bit_for_bit_in_either_order(stop: int, optimizer_first: bool) -> None:
    optimizer = adamw()
    scheduler = as_torch(GIVEN, optimizer, TOTAL)
    before = train(optimizer, scheduler, stop)
    kept = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, kept)
    kept.seek(0)
    after = train(optimizer, scheduler, TOTAL - stop)

    saved = torch.load(kept, weights_only=True)  # nothing but plain data in it
    fresh = adamw()
    resumed = as_torch(GIVEN, fresh, TOTAL)
    order = [(fresh, "optimizer"), (resumed, "scheduler")]
    for target, name in order if optimizer_first else reversed(order):
        target.load_state_dict(saved[name])
    assert resumed.last_epoch == stop
    assert train(fresh, resumed, TOTAL - stop) == after
    assert len(before + after) == TOTAL


def test_the_bases_are_the_saved_ones() -> None:
    optimizer = adamw()
    scheduler = as_torch(Linear(), optimizer, TOTAL)
    train(optimizer, scheduler, 7)
    other = torch.optim.SGD([{"params": [torch.ones(1)], "lr": 5.0} for _ in range(2)])
    resumed = as_torch(Linear(), other, TOTAL)
    resumed.load_state_dict(scheduler.state_dict())
    assert [group["lr"] for group in other.param_groups] == [group["lr"] for group in optimizer.param_groups]
    assert resumed.base_lrs == [1e-3, 1e-2]


def test_resumes_through_last_epoch_as_torch_does() -> None:
    optimizer = adamw()
    scheduler = as_torch(Warmup(20) >> Cosine(), optimizer, TOTAL)
    train(optimizer, scheduler, 50)
    saved = optimizer.state_dict()
    expected = train(optimizer, scheduler, 20)
    fresh = adamw()
    fresh.load_state_dict(saved)
    assert train(fresh, as_torch(Warmup(20) >> Cosine(), fresh, TOTAL, last_epoch=49), 20) == expected
    with pytest.raises(
        ValueError, match=r"as_torch: last_epoch=49 goes on with a run, but a group has no 'initial_lr'"
    ):
        as_torch(Cosine(), adamw(), TOTAL, last_epoch=49)


def test_a_tensor_rate_is_filled_in_place() -> None:
    rate = torch.tensor(0.5)
    optimizer = torch.optim.Adam([torch.ones(3, requires_grad=True)], lr=rate)
    scheduler = as_torch(Step(1, gamma=0.5), optimizer, TOTAL)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.0625
    assert scheduler.get_last_lr() == [0.0625]


def test_stands_in_torch_s_own_combinations() -> None:
    optimizer = adamw()
    chained = ChainedScheduler([as_torch({"weight_decay": Linear()}, optimizer, 8), as_torch(Linear(), optimizer, 8)])
    seen = train(optimizer, chained, 8)
    assert [row[0] for row in seen] == Linear(8).value(np.arange(8), 1e-3).tolist()
    assert [row[2] for row in seen] == Linear(8).value(np.arange(8), 0.01).tolist()


def test_a_plateau_is_observed_and_resumed() -> None:
    given = Constant() * ReduceOnPlateau(factor=0.5, patience=0, min_lr=2e-3)

    def start() -> tuple[torch.optim.AdamW, ScheduleLR]:
        optimizer = adamw()
        return optimizer, as_torch(given, optimizer, TOTAL)

    optimizer, scheduler = start()
    rates = []
    saved = ""
    for epoch, loss in enumerate([1.0, 1.0, 0.5, 0.6, 0.6]):
        train(optimizer, scheduler, 3)
        if epoch == 3:
            saved = json.dumps(scheduler.state_dict())
        scheduler.observe({"val_loss": loss, "accuracy": 0.0})
        rates.append([group["lr"] for group in optimizer.param_groups])
    assert [rate[1] for rate in rates] == [0.01, 0.005, 0.005, 0.0025, 0.002]
    assert [rate[0] for rate in rates] == [0.001] * 5  # below the floor already: left alone
    assert scheduler.get_last_lr() == rates[-1]

    optimizer, scheduler = start()
    scheduler.load_state_dict(json.loads(saved))
    scheduler.observe(0.6)
    assert [group["lr"] for group in optimizer.param_groups] == rates[3]


def test_refuses() -> None:
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    with pytest.raises(TypeError, match=r"as_torch: optimizer=3 is no torch\.optim\.Optimizer, got int"):
        as_torch(Cosine(), 3, TOTAL)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Cosine: the total steps are unknown"):
        as_torch(Cosine(), optimizer)
    with pytest.raises(ValueError, match=r"as_torch: unknown schedule 'cosin'"):
        as_torch("cosin", optimizer, TOTAL)
    adagrad = torch.optim.Adagrad([torch.ones(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match=r"group has no 'momentum' to act on .*switched off by moms=\(\)"):
        as_torch(OneCycle(), adagrad, TOTAL)
    as_torch(OneCycle(moms=()), adagrad, TOTAL)
    scheduler = as_torch(Cosine(), optimizer, TOTAL)
    with pytest.raises(ValueError, match=r"observe\(…\) is for schedules with a ReduceOnPlateau; this one has none"):
        scheduler.observe(1.0)
    with pytest.raises(
        ValueError, match=r"as_torch: the state was saved with .*steps=300.*but this scheduler has .*=200"
    ):
        as_torch(Cosine(), optimizer, 200).load_state_dict(scheduler.state_dict())
    with pytest.raises(ValueError, match=r"another number of groups than the optimizer's 2; give the optimizer the"):
        as_torch(Cosine(), adamw(), TOTAL).load_state_dict(scheduler.state_dict())
    plateau = as_torch(Constant() * ReduceOnPlateau(monitor="accuracy"), adamw(), TOTAL)
    with pytest.raises(
        ValueError, match=r"the plateau monitors 'accuracy', but the metrics are loss, val_loss; pass it"
    ):
        plateau.observe({"loss": 1.0, "val_loss": 1.0})

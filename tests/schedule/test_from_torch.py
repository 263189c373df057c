"""Torch's schedulers in our loop: stepped, saved, resumed, previewed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from tests.schedule.cases import halving
from thalweg.schedule import TorchDriver, TorchSchedule, from_torch

TOTAL = 40


def warm_cosine(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    parts = [
        lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=7),
        lr_scheduler.CosineAnnealingLR(optimizer, T_max=33),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[7])


def chained(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    parts = [lr_scheduler.ConstantLR(optimizer, total_iters=9), lr_scheduler.ExponentialLR(optimizer, gamma=0.95)]
    return lr_scheduler.ChainedScheduler(parts)


ROWS: dict[str, TorchSchedule] = {
    "StepLR": from_torch(lr_scheduler.StepLR, step_size=7),
    "MultiStepLR": from_torch(lr_scheduler.MultiStepLR, milestones=[5, 5, 20]),
    "ExponentialLR": from_torch(lr_scheduler.ExponentialLR, gamma=0.9),
    "PolynomialLR": from_torch(lr_scheduler.PolynomialLR, total_iters=30, power=2.0),
    "CosineAnnealingLR": from_torch(lr_scheduler.CosineAnnealingLR, T_max=40),
    "CosineAnnealingWarmRestarts": from_torch(lr_scheduler.CosineAnnealingWarmRestarts, T_0=6, T_mult=2),
    "CyclicLR": from_torch(
        lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.2, step_size_up=6, mode="exp_range", gamma=0.9
    ),
    "OneCycleLR": from_torch(lr_scheduler.OneCycleLR, max_lr=0.3, total_steps=TOTAL + 1),
    "LambdaLR": from_torch(lr_scheduler.LambdaLR, lr_lambda=halving),
    "SequentialLR": from_torch(warm_cosine),
    "ChainedScheduler": from_torch(chained),
    "ReduceLROnPlateau": from_torch(lr_scheduler.ReduceLROnPlateau, patience=1, cooldown=2),
}
each_row = pytest.mark.parametrize("description", list(ROWS.values()), ids=list(ROWS))


def sgd() -> torch.optim.SGD:
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.1, 0.05)]
    return torch.optim.SGD(groups, lr=0.0, momentum=0.9)


def numbers(optimizer: torch.optim.Optimizer) -> list[float]:
    return [group[key] for group in optimizer.param_groups for key in ("lr", "momentum")]


def metric(step: int) -> float:
    return 1.0 / (1 + step % 9)


@each_row
def test_steps_as_torch_alone_does(description: TorchSchedule) -> None:
    optimizer, reference = sgd(), sgd()
    driver = description.driver(optimizer)
    make = description.factory
    assert not isinstance(make, lr_scheduler.LRScheduler)
    scheduler: Any = make(reference, **description.settings)
    for step in range(TOTAL):
        assert numbers(optimizer) == numbers(reference)
        reference.step()
        driver.step(metric(step))  # no call of optimizer.step(): torch's warning about it must not come
        scheduler.step(*([metric(step)] if driver.needs_metric else []))
    assert numbers(optimizer) != numbers(sgd())


@each_row
@pytest.mark.parametrize("stop", [0, 1, 6, 7, 8, 23])
@pytest.mark.parametrize("disturbed", [False, True])
def test_resumes_bit_for_bit(description: TorchSchedule, stop: int, disturbed: bool) -> None:
    optimizer = sgd()
    driver = description.driver(optimizer)
    for step in range(stop):
        driver.step(metric(step))
    saved = json.dumps(driver.state_dict(), allow_nan=False)
    expected = []
    for step in range(stop, TOTAL):
        expected.append(numbers(optimizer))
        driver.step(metric(step))

    fresh = sgd()
    if disturbed:  # whatever the groups hold before: the state brings its own
        for group in fresh.param_groups:
            group["lr"] = 7.0
    resumed = description.driver(fresh)
    resumed.load_state_dict(json.loads(saved))
    seen = []
    for step in range(stop, TOTAL):
        seen.append(numbers(fresh))
        resumed.step(metric(step))
    assert seen == expected


def test_a_tensor_rate_is_resumed_in_place() -> None:
    rate = torch.tensor(0.5)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=rate)
    driver = from_torch(lr_scheduler.ExponentialLR, gamma=0.5).driver(optimizer)
    saved = json.dumps(driver.state_dict())
    driver.step()
    assert rate.item() == 0.25
    driver.load_state_dict(json.loads(saved))
    assert rate.item() == 0.5
    assert optimizer.param_groups[0]["lr"] is rate
    driver.step()
    assert driver.rates == [0.25]


def test_when_it_is_stepped() -> None:
    plateau, step = lr_scheduler.ReduceLROnPlateau, lr_scheduler.StepLR
    assert from_torch(plateau).driver(sgd()).every == "epoch"
    assert from_torch(plateau, every="step").driver(sgd()).every == "step"
    assert from_torch(step, step_size=3).driver(sgd()).every == "step"
    assert from_torch(step, step_size=3, every="epoch").driver(sgd()).every == "epoch"
    assert from_torch(plateau).driver(sgd()).needs_metric
    assert not from_torch(step, step_size=3).driver(sgd()).needs_metric
    assert from_torch(plateau, monitor="accuracy", mode="max").driver(sgd()).monitor == "accuracy"


def test_takes_a_finished_scheduler_on_the_loop_s_optimizer() -> None:
    optimizer = sgd()
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    driver = from_torch(scheduler).driver(optimizer)
    driver.step()
    assert driver.scheduler is scheduler
    assert driver.rates == [0.05, 0.025]


def test_takes_hugging_face_s_functions() -> None:
    theirs = pytest.importorskip("transformers.optimization")
    made = from_torch(theirs.get_linear_schedule_with_warmup, num_warmup_steps=2, num_training_steps=6)
    assert made.preview([1.0], 6)[:, 0].tolist() == [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]


@each_row
def test_previews_what_will_come(description: TorchSchedule) -> None:
    optimizer = sgd()
    driver = description.driver(optimizer)
    preview = description.preview([0.1, 0.05], TOTAL)
    assert preview.shape == (TOTAL, 2)
    if driver.needs_metric:
        assert (preview == [0.1, 0.05]).all()
        return
    seen = []
    for _ in range(TOTAL):
        seen.append(driver.rates)
        driver.step()
    assert np.array_equal(preview, seen)


class Unsaveable(lr_scheduler.LRScheduler):
    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.hook = print
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        return [group["lr"] for group in self.optimizer.param_groups]


def plateau_driver() -> TorchDriver:
    return from_torch(lr_scheduler.ReduceLROnPlateau, monitor="val_f1").driver(sgd())


def state_of_another_size() -> None:
    one = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    saved = from_torch(lr_scheduler.StepLR, step_size=3).driver(one).state_dict()
    from_torch(lr_scheduler.StepLR, step_size=3).driver(sgd()).load_state_dict(saved)


def state_of_another_class() -> None:
    saved = from_torch(lr_scheduler.StepLR, step_size=3).driver(sgd()).state_dict()
    plateau_driver().load_state_dict(saved)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: from_torch(3), TypeError, r"from_torch: 3 makes no scheduler, got int; pass a class of torch\.optim"),
        (
            lambda: from_torch(lr_scheduler.StepLR, every="epok"),
            ValueError,
            r"unknown clock 'epok'\. Did you mean 'epoch'",
        ),
        (
            lambda: from_torch(lr_scheduler.StepLR(sgd(), 3), gamma=0.5),
            TypeError,
            r"from_torch: StepLR is finished, and got the settings \['gamma'\] as well",
        ),
        (
            lambda: from_torch(lambda o: None).driver(sgd()),
            TypeError,
            r"the factory returned None, got NoneType; it must",
        ),
        (
            lambda: from_torch(lr_scheduler.StepLR(sgd(), 3)).driver(sgd()),
            ValueError,
            r"this StepLR belongs to another optimizer than the loop's; pass how to make it instead",
        ),
        (
            lambda: from_torch(lr_scheduler.StepLR(sgd(), 3)).preview([0.1], 3),
            ValueError,
            r"a finished StepLR cannot be previewed without changing its optimizer",
        ),
        (
            lambda: plateau_driver().step(),
            ValueError,
            r"ReduceLROnPlateau: step\(\) needs the metric 'val_f1', got none",
        ),
        (lambda: plateau_driver().step(float("nan")), ValueError, r"ReduceLROnPlateau: val_f1=nan must be a number"),
        (state_of_another_size, ValueError, r"StepLR: the state holds 1 groups, the optimizer has 2; give it those"),
        (state_of_another_class, ValueError, r"ReduceLROnPlateau: the state was saved by StepLR; make"),
        (
            lambda: from_torch(Unsaveable).driver(sgd()).state_dict(),
            TypeError,
            r"Unsaveable: its state holds <built-in function print>, a builtin_function_or_method, which cannot",
        ),
    ],
)
def test_refuses(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()

"""The schedules that Hugging Face's ``get_*_schedule`` functions give, at every step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler

from tests.schedule.cases import ATOL, RTOL
from thalweg.schedule import (
    Constant,
    Cosine,
    CosineRestarts,
    InverseSqrt,
    Linear,
    Polynomial,
    Schedule,
    Warmup,
    WarmupStableDecay,
)

theirs = pytest.importorskip("transformers.optimization")

TOTAL, WARMUP, BASE = 400, 37, 3e-4
Make = Callable[[torch.optim.Optimizer], LRScheduler]
ROWS: dict[str, tuple[Schedule, Make]] = {
    "constant": (Constant(), theirs.get_constant_schedule),
    "constant with warm-up": (
        Warmup(WARMUP) >> Constant(),
        lambda o: theirs.get_constant_schedule_with_warmup(o, WARMUP),
    ),
    "linear": (Warmup(WARMUP) >> Linear(), lambda o: theirs.get_linear_schedule_with_warmup(o, WARMUP, TOTAL)),
    "cosine": (Warmup(WARMUP) >> Cosine(), lambda o: theirs.get_cosine_schedule_with_warmup(o, WARMUP, TOTAL)),
    "cosine with more waves": (
        Warmup(WARMUP) >> Cosine(num_cycles=1.75),
        lambda o: theirs.get_cosine_schedule_with_warmup(o, WARMUP, TOTAL, num_cycles=1.75),
    ),
    "cosine with hard restarts": (
        Warmup(40) >> CosineRestarts(num_cycles=4),
        lambda o: theirs.get_cosine_with_hard_restarts_schedule_with_warmup(o, 40, TOTAL, num_cycles=4),
    ),
    "cosine with a floor": (
        Warmup(WARMUP) >> Cosine(eta_min=1e-5),
        lambda o: theirs.get_cosine_with_min_lr_schedule_with_warmup(o, WARMUP, TOTAL, min_lr=1e-5),
    ),
    # Counts from 1: the peak is met by the last step of the warm-up, and the floor by the last step of the run.
    "cosine with a floor, from 1": (
        Warmup(WARMUP - 1, start=1 / WARMUP) >> Cosine(TOTAL - WARMUP, eta_min=0.1 * BASE),
        lambda o: theirs.get_cosine_with_min_lr_schedule_with_warmup_lr_rate(o, WARMUP, TOTAL, min_lr_rate=0.1),
    ),
    "cosine with a floor and a start": (
        Warmup(WARMUP - 1, start=0.2) >> Cosine(TOTAL - WARMUP, eta_min=0.1 * BASE),
        lambda o: theirs.get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
            o, WARMUP, TOTAL, min_lr_rate=0.1, warmup_lr_rate=0.2
        ),
    ),
    "polynomial": (
        Warmup(WARMUP) >> Polynomial(power=0.9, eta_min=1e-7),
        lambda o: theirs.get_polynomial_decay_schedule_with_warmup(o, WARMUP, TOTAL, power=0.9),
    ),
    "inverse square root": (
        Warmup(WARMUP) >> InverseSqrt(WARMUP),
        lambda o: theirs.get_inverse_sqrt_schedule(o, WARMUP),
    ),
    "inverse square root with a timescale": (
        Warmup(WARMUP) >> InverseSqrt(90),
        lambda o: theirs.get_inverse_sqrt_schedule(o, WARMUP, timescale=90),
    ),
} | {
    f"wsd {rise} {fall}": (
        WarmupStableDecay(WARMUP, 120, shape=fall, warmup_shape=rise, start=0.05, end=0.05),
        lambda o, rise=rise, fall=fall: theirs.get_wsd_schedule(
            o, WARMUP, 120, TOTAL, warmup_type=rise, decay_type=fall, min_lr_ratio=0.05
        ),
    )
    for rise, fall in (("linear", "linear"), ("cosine", "cosine"), ("1-sqrt", "1-sqrt"))
}


@pytest.mark.parametrize(("schedule", "make"), list(ROWS.values()), ids=list(ROWS))
def test_equals_hugging_face_at_every_step(schedule: Schedule, make: Make) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE)
    scheduler = make(optimizer)
    expected = []
    for _ in range(TOTAL):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    values = schedule.resolve(TOTAL).value(np.arange(TOTAL), BASE)
    np.testing.assert_allclose(values, expected, rtol=RTOL, atol=ATOL * BASE)

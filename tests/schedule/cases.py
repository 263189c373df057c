"""One row per schedule: how it is made, what it must give, torch's own class, and what it must refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import lr_scheduler

from thalweg import schedule as sched
from thalweg.schedule import Schedule

# Relative, at every step. Torch's recursions multiply one rounding of 1e-16 per step into the rate; 1e-12 allows for
# thousands of them.
RTOL = 1e-12
# In units of the highest value: where a cosine meets its zero, 1 + cos(πx) is the difference of two numbers near 1,
# and one rounding of cos (1.1e-16) is all that is left of the value in either library.
ATOL = 4e-16


@dataclass(frozen=True)
class Bad:
    """Something that must be refused: a call, the exception's type and a pattern of its message."""

    call: Callable[[], object]
    match: str
    error: type[Exception] = ValueError


@dataclass(frozen=True)
class Case:
    """A schedule and what is known about it.

    Args:
        name: the test's id.
        schedule: as a user writes it, unresolved.
        literal: its values from step 0 on at the base 1.0 (or *base*) in the run of *total* steps, worked out by hand.
        total: the run's updates.
        per_epoch: its updates per epoch.
        base: the base of *literal*.
        torch: makes torch's scheduler on an optimizer whose rate is *base*.
        torch_steps: how many steps torch's values are compared over.
        starts_at_base: a warm-up in front of it joins without a jump.
    """

    name: str
    schedule: Schedule
    literal: list[float]
    total: int
    per_epoch: int | None = None
    base: float = 1.0
    torch: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler] | None = None
    torch_steps: int = 0
    starts_at_base: bool = True
    bad: list[Bad] = field(default_factory=list)

    @property
    def resolved(self) -> Schedule:
        return self.schedule.resolve(self.total, self.per_epoch)


def halving(step: int) -> float:
    """A user's function: 1/(1 + t)."""
    return 1.0 / (1.0 + step)


def halving_of_all(steps: Any) -> Any:
    """The same over an array."""
    return 1.0 / (1.0 + steps)


def two(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    """Torch's join: five steps at a third, then a cosine over ten."""
    parts = [
        lr_scheduler.ConstantLR(optimizer, factor=1 / 3, total_iters=100),
        lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[5])


ROOT_HALF = math.sqrt(0.5)

CASES = [
    Case(
        "constant",
        sched.Constant(0.5),
        [0.5, 0.5, 0.5, 0.5],
        total=4,
        starts_at_base=False,
        bad=[Bad(lambda: sched.Constant(-0.5), r"Constant: factor=-0.5 must be >= 0")],
    ),
    Case(
        "constant that ends",
        sched.Constant(0.5).lasting(2) >> sched.Constant(),
        [0.5, 0.5, 1.0, 1.0, 1.0],
        total=60,
        torch=lambda o: lr_scheduler.ConstantLR(o, factor=0.5, total_iters=2),
        torch_steps=60,
        starts_at_base=False,
        bad=[
            Bad(lambda: sched.Constant().lasting(0), r"Lasting: steps=0 is too short; it must be at least 1"),
            Bad(
                lambda: sched.Constant().lasting(70).resolve(60),
                r"Constant\(\)\.lasting\(70\): it lasts 70 steps but has 60",
            ),
            Bad(lambda: sched.Constant().lasting("5%").value(0, 1.0), r"steps='5%' is not a count yet; call \.resolve"),
            Bad(
                lambda: sched.Lasting("cosine", 3), r"Lasting: schedule='cosine' is not a schedule, got str", TypeError
            ),
        ],
    ),
    Case(
        "step",
        sched.Step(2),
        [1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.001],
        total=30,
        torch=lambda o: lr_scheduler.StepLR(o, step_size=2),
        torch_steps=30,
        bad=[
            Bad(lambda: sched.Step(0), r"Step: step_size=0 is too short; it must be at least 1"),
            Bad(lambda: sched.Step(-3), r"Step: step_size=-3 is negative"),
            Bad(lambda: sched.Step(3, gamma=0.0), r"Step: gamma=0.0 must be > 0"),
            Bad(lambda: sched.Step(30).resolve(30), r"Step: the first drop is due after 30 steps, but it has 30"),
            Bad(lambda: sched.Step("1%").resolve(20), r"Step: step_size='1%' comes to 0 steps of this run"),
            Bad(lambda: sched.Step(None), r"Step: step_size=None is a NoneType, not a duration", TypeError),
        ],
    ),
    Case(
        "step per epoch",
        sched.Step(2, gamma=0.5, every="epoch"),
        [1.0] * 6 + [0.5] * 6 + [0.25] * 6 + [0.125],
        total=30,
        per_epoch=3,
        bad=[
            Bad(lambda: sched.Step(2, every="epok"), r"Step every: unknown clock 'epok'\. Did you mean 'epoch'\?"),
            Bad(
                lambda: sched.Step(2, every="epoch").resolve(30),
                r'Step: every="epoch" needs the steps per epoch, which are unknown here; pass steps_per_epoch',
            ),
            Bad(lambda: sched.Step(2, every="epoch").value(3, 1.0), r'every="epoch" needs the steps per epoch; call'),
            Bad(
                lambda: sched.Step("4 steps", every="epoch").resolve(30, 3),
                r"Step: step_size='4 steps' is not a whole number of epochs",
            ),
        ],
    ),
    Case(
        "multi_step",
        sched.MultiStep([5, 2, 5, 3], gamma=0.5),
        [1.0, 1.0, 0.5, 0.25, 0.25, 0.0625, 0.0625],
        total=20,
        torch=lambda o: lr_scheduler.MultiStepLR(o, milestones=[2, 3, 5, 5], gamma=0.5),
        torch_steps=20,
        bad=[
            Bad(lambda: sched.MultiStep([]), r"MultiStep: milestones=\[\] names no step to drop at"),
            Bad(lambda: sched.MultiStep(30), r"MultiStep: milestones=30 must be a list of durations", TypeError),
            Bad(lambda: sched.MultiStep([5, -2]), r"MultiStep: milestones=-2 is negative"),
            Bad(lambda: sched.MultiStep([5], gamma=-1), r"MultiStep: gamma=-1 must be > 0"),
            Bad(
                lambda: sched.MultiStep([5, 20, 90]).resolve(20),
                r"MultiStep: milestones \[20, 90\] are not reached in 20 steps; lower them or train longer",
            ),
        ],
    ),
    Case(
        "exponential",
        sched.Exponential(0.5),
        [1.0, 0.5, 0.25, 0.125, 0.0625],
        total=200,
        torch=lambda o: lr_scheduler.ExponentialLR(o, gamma=0.5),
        torch_steps=200,
        bad=[Bad(lambda: sched.Exponential(0.0), r"Exponential: gamma=0.0 must be > 0")],
    ),
    Case(
        "exponential that hardly falls",
        sched.Exponential(0.9997),
        [1.0, 0.9997, 0.99940009],
        total=2000,
        torch=lambda o: lr_scheduler.ExponentialLR(o, gamma=0.9997),
        torch_steps=2000,
    ),
    Case("exponential that stops", sched.Exponential(0.5).lasting(2), [1.0, 0.5, 0.25, 0.25, 0.25], total=5),
    Case(
        "linear",
        sched.Linear(),
        [1.0, 0.75, 0.5, 0.25, 0.0, 0.0],
        total=4,
        bad=[
            Bad(lambda: sched.Linear(start_factor=-1.0), r"Linear: start_factor=-1.0 must be >= 0"),
            Bad(lambda: sched.Linear(end_factor=float("nan")), r"Linear: end_factor=nan must be >= 0"),
            Bad(lambda: sched.Linear(0), r"Linear: steps=0 is too short"),
            Bad(lambda: sched.Linear(5).resolve(4), r"Linear: it lasts 5 steps but has 4, so it cannot complete"),
            Bad(lambda: sched.Linear().resolve(None), r"Linear: the total steps are unknown, and steps=None means all"),
            Bad(lambda: sched.Linear().value(0, 1.0), r"Linear: steps=None is not a count yet; call \.resolve"),
        ],
    ),
    Case(
        "linear that rises",
        sched.Linear(4, start_factor=0.25, end_factor=1.25),
        [0.25, 0.5, 0.75, 1.0, 1.25, 1.25],
        total=40,
        torch=lambda o: lr_scheduler.LinearLR(o, start_factor=0.25, end_factor=1.0, total_iters=3),
        torch_steps=4,
        starts_at_base=False,
    ),
    Case(
        "polynomial",
        sched.Polynomial(power=2.0),
        [1.0, 0.5625, 0.25, 0.0625, 0.0],
        total=4,
        bad=[
            Bad(lambda: sched.Polynomial(power=0.0), r"Polynomial: power=0.0 must be > 0"),
            Bad(lambda: sched.Polynomial(eta_min=-1e-9), r"Polynomial: eta_min=-1e-09 must be >= 0"),
            Bad(
                lambda: sched.Polynomial(4, eta_min=0.1).value(0, 0.01),
                r"Polynomial: eta_min=0.1 is above the group's base 0.01, so the value would rise to it; lower eta_min",
            ),
        ],
    ),
    Case(
        "polynomial with a floor",
        sched.Polynomial(4, power=3.0, eta_min=0.2),
        [1.0, 0.5375, 0.3, 0.2125, 0.2, 0.2],
        total=10,
    ),
    Case(
        "polynomial of torch",
        sched.Polynomial(50, power=0.9),
        [1.0],
        total=70,
        torch=lambda o: lr_scheduler.PolynomialLR(o, total_iters=50, power=0.9),
        torch_steps=70,
    ),
    Case(
        "cosine",
        sched.Cosine(),
        [1.0, 0.5 + 0.5 * ROOT_HALF, 0.5, 0.5 - 0.5 * ROOT_HALF, 0.0, 0.0],
        total=4,
        bad=[
            Bad(lambda: sched.Cosine(eta_min=-0.1), r"Cosine: eta_min=-0.1 must be >= 0"),
            Bad(lambda: sched.Cosine(num_cycles=0), r"Cosine: num_cycles=0 must be > 0"),
            Bad(lambda: sched.Cosine(5).resolve(4), r"Cosine: it lasts 5 steps but has 4, so it cannot complete"),
            Bad(lambda: sched.Cosine().resolve(None), r"Cosine: the total steps are unknown"),
            Bad(lambda: sched.Cosine(4, eta_min=2.0).value(0, 1.0), r"Cosine: eta_min=2.0 is above the group's base"),
        ],
    ),
    Case(
        "cosine with a floor",
        sched.Cosine("100%", eta_min=0.2),
        [1.0, 0.8, 0.4, 0.2, 0.2],
        total=3,
    ),
    Case(
        "cosine of torch",
        sched.Cosine(eta_min=0.01),
        [1.0],
        total=100,
        torch=lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=100, eta_min=0.01),
        torch_steps=101,
    ),
    Case(
        "cosine that rises again",
        sched.Cosine(100, num_cycles=1.0),
        [1.0],
        total=100,
        torch=lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=50),
        torch_steps=50,
    ),
    Case(
        "cosine per epoch",
        sched.Cosine(every="epoch"),
        [1.0, 1.0, 0.75, 0.75, 0.25, 0.25, 0.0],
        total=6,
        per_epoch=2,
    ),
    Case(
        "restarts",
        sched.CosineRestarts(T_0=2, T_mult=2),
        [1.0, 0.5, 1.0, 0.5 + 0.5 * ROOT_HALF, 0.5, 0.5 - 0.5 * ROOT_HALF, 1.0],
        total=100,
        torch=lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=2, T_mult=2),
        torch_steps=100,
        bad=[
            Bad(lambda: sched.CosineRestarts(), r"exactly one of them must be given; T_0 is the first cycle's length"),
            Bad(lambda: sched.CosineRestarts(T_0=3, num_cycles=2), r"T_0=3 and num_cycles=2: exactly one of them"),
            Bad(lambda: sched.CosineRestarts(T_0=3, steps=9), r"CosineRestarts: steps=9 goes with num_cycles"),
            Bad(lambda: sched.CosineRestarts(T_0=3, T_mult=1.5), r"T_mult=1.5 must be an int, got float", TypeError),
            Bad(lambda: sched.CosineRestarts(T_0=3, T_mult=0), r"CosineRestarts: T_mult=0 must be >= 1"),
            Bad(lambda: sched.CosineRestarts(num_cycles=0), r"CosineRestarts: num_cycles=0 must be >= 1"),
            Bad(lambda: sched.CosineRestarts(T_0=3, cycle_decay=1.5), r"cycle_decay=1.5 must be > 0 and <= 1"),
            Bad(
                lambda: sched.CosineRestarts(T_0=30).resolve(20),
                r"CosineRestarts: the first cycle lasts T_0=30 steps but it has 20, so it cannot complete",
            ),
            Bad(
                lambda: sched.CosineRestarts(num_cycles=5, T_mult=2).resolve(20),
                r"num_cycles=5 with T_mult=2 divide 20 steps into 31 parts, so the first cycle is shorter than one",
            ),
            Bad(
                lambda: sched.CosineRestarts(T_0=3, eta_min=2.0).value(0, 1.0),
                r"CosineRestarts: eta_min=2.0 is above the group's base 1.0",
            ),
        ],
    ),
    Case(
        "restarts of equal length",
        sched.CosineRestarts(T_0=7, eta_min=0.125),
        [1.0],
        total=60,
        torch=lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=7, eta_min=0.125),
        torch_steps=60,
    ),
    Case(
        "restarts that start lower",
        sched.CosineRestarts(T_0=2, cycle_decay=0.5, eta_min=0.2),
        [1.0, 0.6, 0.5, 0.35, 0.25, 0.225, 0.2, 0.2, 0.2, 0.2],
        total=10,
    ),
    Case(
        "restarts by number",
        sched.CosineRestarts(num_cycles=2, T_mult=3),
        [1.0, 0.5, 1.0, 0.75 + 0.25 * (math.sqrt(3.0) - 1.0), 0.75, 0.5, 0.25, 0.5 - 0.25 * math.sqrt(3.0), 0.0, 0.0],
        total=8,
    ),
    Case(
        "inverse_sqrt",
        sched.InverseSqrt(4),
        [1.0, math.sqrt(0.8), math.sqrt(2 / 3), math.sqrt(4 / 7), ROOT_HALF],
        total=50,
        bad=[
            Bad(lambda: sched.InverseSqrt(0), r"InverseSqrt: timescale=0 is too short"),
            Bad(lambda: sched.InverseSqrt("10%").resolve(None), r"timescale='10%' is a share of the run, whose total"),
        ],
    ),
    Case(
        "warmup",
        sched.Warmup("50%"),
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0],
        total=8,
        starts_at_base=False,
        bad=[
            Bad(lambda: sched.Warmup(-1), r"Warmup: steps=-1 is negative, and a duration cannot be; pass 0 or more"),
            Bad(lambda: sched.Warmup(None), r"Warmup: steps=None has no length; give a count", TypeError),
            Bad(lambda: sched.Warmup(3, "cosin"), r"Warmup shape: unknown shape 'cosin'\. Did you mean 'cosine'\?"),
            Bad(lambda: sched.Warmup(3, start=1.5), r"Warmup: start=1.5 must be >= 0 and <= 1"),
            Bad(lambda: sched.Warmup(3, "exponential", start=0.0), r"Warmup: start=0.0 cannot be multiplied up to 1"),
            Bad(
                lambda: sched.Warmup(500).resolve(300),
                r"Warmup: the warm-up of 500 steps is longer than the run of 300; shorten it or train longer",
            ),
            Bad(
                lambda: (sched.Warmup(500) >> sched.Cosine()).resolve(300),
                r"Warmup: the warm-up of 500 steps is longer than the run of 300",
            ),
            Bad(
                lambda: (sched.Warmup(300) >> sched.Cosine()).resolve(300),
                r"Cosine: no steps are left for it \(0 of 300\); shorten the parts before it or train longer",
            ),
        ],
    ),
    Case(
        "warmup of torch",
        sched.Warmup(30, start=1 / 3),
        [1 / 3],
        total=40,
        torch=lambda o: lr_scheduler.LinearLR(o, start_factor=1 / 3, total_iters=30),
        torch_steps=40,
        starts_at_base=False,
    ),
    Case(
        "exponential warmup",
        sched.Warmup(2, "exponential"),
        [0.01, 0.1, 1.0, 1.0],
        total=4,
        starts_at_base=False,
    ),
    Case(
        "cosine warmup",
        sched.Warmup(3, "cosine", start=0.2),
        [0.2, 0.4, 0.8, 1.0],
        total=4,
        starts_at_base=False,
    ),
    Case("1-sqrt warmup", sched.Warmup(4, "1-sqrt"), [0.0, 1 - math.sqrt(0.75)], total=4, starts_at_base=False),
    Case("no warmup", sched.Warmup(0), [1.0, 1.0], total=4),
    Case(
        "cyclic",
        sched.Cyclic(2, 4, max_lr=3.0),
        [1.0, 2.0, 3.0, 2.5, 2.0, 1.5, 1.0, 2.0, 3.0],
        total=30,
        torch=lambda o: lr_scheduler.CyclicLR(o, 1.0, 3.0, step_size_up=2, step_size_down=4, cycle_momentum=False),
        torch_steps=30,
        bad=[
            Bad(lambda: sched.Cyclic(2), r"Cyclic: max_lr=None and max_factor=None: exactly one of them must be given"),
            Bad(lambda: sched.Cyclic(2, max_lr=1.0, max_factor=2.0), r"exactly one of them must be given"),
            Bad(lambda: sched.Cyclic(2, max_factor=0.5), r"Cyclic: max_factor=0.5 must be >= 1"),
            Bad(lambda: sched.Cyclic(2, max_lr=0.0), r"Cyclic: max_lr=0.0 must be > 0"),
            Bad(
                lambda: sched.Cyclic(2, max_lr=0.1).value(0, 0.2),
                r"Cyclic: the group's base 0.2 is above max_lr=0.1, so the cycle would go down instead of up",
            ),
            Bad(
                lambda: sched.Cyclic(2, max_lr=1.0, mode="triangular3"),
                r"Cyclic mode: unknown mode 'triangular3'\. Did you mean 'triangular'\?",
            ),
            Bad(
                lambda: sched.Cyclic(2, max_lr=1.0, gamma=0.5),
                r'Cyclic: gamma=0.5 belongs to mode="exp_range", but mode=\'triangular\'',
            ),
            Bad(lambda: sched.Cyclic(8, max_lr=1.0).resolve(15), r"Cyclic: one cycle lasts 8 \+ 8 steps but it has 15"),
            Bad(
                lambda: sched.Cyclic(2, max_lr=1.0, moms=(0.9,)),
                r"Cyclic: moms=\(0.9,\) has 1 momentums, but 2 are needed: highest",
            ),
            Bad(lambda: sched.Cyclic(2, max_lr=1.0, moms=0.9), r"Cyclic: moms=0.9 must be a tuple", TypeError),
            Bad(lambda: sched.Cyclic(2, max_lr=1.0, moms=(1.0, 0.8)), r"Cyclic: moms=1.0 must be >= 0 and < 1"),
        ],
    ),
    Case(
        "cyclic that halves",
        sched.Cyclic(2, max_factor=5.0, mode="triangular2"),
        [1.0, 3.0, 5.0, 3.0, 1.0, 2.0, 3.0, 2.0, 1.0, 1.5, 2.0],
        total=40,
        torch=lambda o: lr_scheduler.CyclicLR(o, 1.0, 5.0, 2, mode="triangular2", cycle_momentum=False),
        torch_steps=40,
    ),
    Case(
        "cyclic that shrinks",
        sched.Cyclic(3, 2, "exp_range", gamma=0.5, max_lr=4.0),
        [1.0, 1.5, 1.5, 1.375, 1.09375, 1.0],
        total=40,
        torch=lambda o: lr_scheduler.CyclicLR(o, 1.0, 4.0, 3, 2, "exp_range", gamma=0.5, cycle_momentum=False),
        torch_steps=40,
    ),
    Case(
        "cyclic momentum",
        sched.CyclicMomentum(2, moms=(0.75, 0.5)),
        [0.75, 0.625, 0.5, 0.625, 0.75, 0.625],
        total=10,
        starts_at_base=False,
        bad=[Bad(lambda: sched.CyclicMomentum(2, moms=()), r"CyclicMomentum: moms=\(\) has 0 momentums")],
    ),
    Case(
        "one_cycle",
        sched.OneCycle(pct_start=0.5, div=5.0, div_final=10.0),
        [0.2, 0.6, 1.0, 0.55, 0.1, 0.1],
        total=4,
        starts_at_base=False,
        bad=[
            Bad(lambda: sched.OneCycle(pct_start=0.0), r"OneCycle: pct_start=0.0 must be > 0 and < 1; it is the share"),
            Bad(lambda: sched.OneCycle(pct_start=1.0), r"OneCycle: pct_start=1.0 must be > 0 and < 1"),
            Bad(lambda: sched.OneCycle(pct_start=-0.3), r"OneCycle: pct_start=-0.3 must be > 0 and < 1"),
            Bad(lambda: sched.OneCycle(pct_start=30), r"OneCycle: pct_start=30 must be > 0 and < 1"),
            Bad(lambda: sched.OneCycle(div=0.5), r"OneCycle: div=0.5 must be >= 1"),
            Bad(lambda: sched.OneCycle(div_final=0), r"OneCycle: div_final=0 must be >= 1"),
            Bad(lambda: sched.OneCycle(max_lr=-1.0), r"OneCycle: max_lr=-1.0 must be > 0"),
            Bad(
                lambda: sched.OneCycle(8, max_lr=0.1).value(0, 0.5),
                r"OneCycle: the group's base 0.5 is above max_lr=0.1, and both cannot be the peak",
            ),
            Bad(
                lambda: sched.OneCycle(anneal_strategy="cosine"),
                r"OneCycle anneal_strategy: unknown strategy 'cosine'\. Did you mean 'cos'\?",
            ),
            Bad(
                lambda: sched.OneCycle(three_phase=True, pct_start=0.5), r"pct_start=0.5 must be < 0.5 with three_phase"
            ),
            Bad(lambda: sched.OneCycle(9).resolve(8), r"OneCycle: it lasts 9 steps but has 8, so it cannot complete"),
            Bad(
                lambda: sched.OneCycle(endpoint=True).resolve(4),
                r"OneCycle: pct_start=0.25 of 4 steps leaves a phase without a step \(the phases would end at 0, 3\)",
            ),
            Bad(
                lambda: sched.OneCycle(moms=(0.9, 0.8)),
                r"OneCycle: moms=\(0.9, 0.8\) has 2 momentums, but 3 are needed: first",
            ),
            Bad(lambda: sched.OneCycle().resolve(None), r"OneCycle: the total steps are unknown"),
        ],
    ),
    Case(
        "one_cycle in three phases",
        sched.OneCycle(pct_start=0.25, anneal_strategy="linear", three_phase=True, div=5.0, div_final=10.0),
        [0.2, 0.6, 1.0, 0.6, 0.2, 0.175, 0.15, 0.125, 0.1],
        total=8,
        starts_at_base=False,
    ),
    Case(
        "one_cycle of torch",
        sched.OneCycle(pct_start=0.3, div_final=25e4, endpoint=True),
        [0.04],
        total=90,
        torch=lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=90, cycle_momentum=False),
        torch_steps=90,
        starts_at_base=False,
    ),
    Case(
        "one_cycle of torch with lines",
        sched.OneCycle(
            pct_start=0.37, div=10.0, div_final=1e3, anneal_strategy="linear", three_phase=True, endpoint=True
        ),
        [0.1],
        total=77,
        torch=lambda o: lr_scheduler.OneCycleLR(
            o, 1.0, 77, None, None, 0.37, "linear", False, div_factor=10.0, final_div_factor=100.0, three_phase=True
        ),
        torch_steps=77,
        starts_at_base=False,
    ),
    Case(
        "one_cycle momentum",
        sched.OneCycleMomentum(4, pct_start=0.5, moms=(0.9, 0.5, 0.7)),
        [0.9, 0.7, 0.5, 0.6, 0.7, 0.7],
        total=4,
        starts_at_base=False,
        bad=[
            Bad(lambda: sched.OneCycleMomentum(moms=()), r"OneCycleMomentum: moms=\(\) has 0 momentums"),
        ],
    ),
    Case(
        "wsd",
        sched.WarmupStableDecay(2, "40%", shape="linear"),
        [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0],
        total=10,
        starts_at_base=False,
        bad=[
            Bad(
                lambda: sched.WarmupStableDecay(2, 0), r"WarmupStableDecay: decay=0 must be >= 1; without a decay this"
            ),
            Bad(lambda: sched.WarmupStableDecay(-2, 3), r"WarmupStableDecay: warmup=-2 is negative"),
            Bad(
                lambda: sched.WarmupStableDecay(2, 3, start=2.0), r"WarmupStableDecay: start=2.0 must be >= 0 and <= 1"
            ),
            Bad(
                lambda: sched.WarmupStableDecay(2, 3, shape="sqrt"),
                r"WarmupStableDecay shape: unknown shape 'sqrt'\. Did you mean '1-sqrt'\?",
            ),
            Bad(
                lambda: sched.WarmupStableDecay(6, 6).resolve(10),
                r"WarmupStableDecay: warmup=6 and decay=6 are longer than the 10 steps that it has",
            ),
            Bad(
                lambda: sched.WarmupStableDecay(2, 3, stable=6).resolve(10),
                r"WarmupStableDecay: it lasts 11 steps but has 10, so it cannot complete",
            ),
        ],
    ),
    Case(
        "wsd with roots",
        sched.WarmupStableDecay(0, 4, end=0.5),
        [1.0, 1.0, 0.75, 1.0 - 0.5 * ROOT_HALF, 1.0 - 0.25 * math.sqrt(3.0), 0.5, 0.5],
        total=5,
    ),
    Case(
        "function",
        sched.Function(halving),
        [1.0, 0.5, 1 / 3, 0.25, 0.2],
        total=30,
        torch=lambda o: lr_scheduler.LambdaLR(o, halving),
        torch_steps=30,
        bad=[
            Bad(lambda: sched.Function(3), r"Function: fn=3 is not callable", TypeError),
            Bad(lambda: sched.Function("nowhere:f"), r"Function: fn='nowhere:f' cannot be imported \(No module named"),
            Bad(lambda: sched.Function("math:sqroot"), r"Function: fn='math:sqroot' cannot be imported"),
            Bad(lambda: sched.Function("sqrt"), r"write it as 'package.module:function'"),
            Bad(
                lambda: sched.Function(lambda step: 1.0 - step).value(2, 1.0),
                r"the factor at step 2 is -1.0; it must be finite and >= 0",
            ),
            Bad(lambda: sched.Function(lambda step: math.inf).value(2, 1.0), r"the factor at step 2 is inf"),
            Bad(lambda: sched.Function(lambda step: "1").value(2, 1.0), r"must return a number", TypeError),
            Bad(
                lambda: sched.Function(lambda steps: 1.0, vectorized=True).value(2, 1.0),
                r"got factors of shape \(\) for steps of shape \(1,\); a vectorized function returns one factor",
            ),
        ],
    ),
    Case("function of arrays", sched.Function(halving_of_all, vectorized=True), [1.0, 0.5, 1 / 3], total=30),
    Case(
        "plateau",
        sched.Step(2, gamma=0.5) * sched.ReduceOnPlateau(patience=3),
        [1.0, 1.0, 0.5, 0.5, 0.25],
        total=10,
    ),
    Case(
        "join",
        sched.Warmup(2) >> sched.Constant() >> sched.Linear("25%"),
        [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0],
        total=8,
        starts_at_base=False,
        bad=[
            Bad(lambda: sched.Join([]), r"Join: parts=\[\] leaves no schedule; give at least one"),
            Bad(lambda: sched.Join(["cosine"]), r"Join: the part 'cosine' is no schedule, got str", TypeError),
            Bad(lambda: sched.Warmup(3) >> 0.1, r"Warmup >> 0.1: a schedule combines with a schedule, got", TypeError),
            Bad(
                lambda: (sched.Linear() >> sched.Cosine()).resolve(9),
                r"Join: Linear and Cosine have no length of their own, so it is open how they share the steps",
            ),
            Bad(
                lambda: (sched.Warmup(6) >> sched.Linear(4)).resolve(9),
                r"Join: its parts need 10 steps \(Warmup 6, Linear 4\) but it has 9, so it cannot complete",
            ),
            Bad(
                lambda: (sched.Warmup(6) >> sched.Constant() >> sched.Linear(4)).resolve(10),
                r"Join: no steps remain for Constant between the other parts",
            ),
            Bad(
                lambda: (sched.Constant() >> sched.Linear(4)).resolve(None),
                r"Join: the total steps are unknown, and Constant takes the steps that remain between",
            ),
            Bad(
                lambda: (sched.Constant() >> sched.Linear(4)).value(0, 1.0),
                r"Join: when Constant\(\) ends and Linear begins is not known yet; call \.resolve",
            ),
            Bad(
                lambda: (sched.Warmup(3) >> sched.Cosine(4, eta_min=0.1)).value(0, 0.01),
                r"Cosine: eta_min=0.1 is above the group's base",
            ),
        ],
    ),
    Case(
        "join of torch",
        sched.Constant(1 / 3).lasting(5) >> sched.Cosine(10),
        [1 / 3] * 5 + [1.0],
        total=16,
        torch=two,
        torch_steps=16,
        starts_at_base=False,
    ),
    Case(
        "join in the middle of an epoch",
        sched.Warmup(1) >> sched.Step(1, gamma=0.5, every="epoch"),
        [0.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25],
        total=9,
        per_epoch=2,
        starts_at_base=False,
    ),
    Case(
        "product",
        sched.Cosine(4, eta_min=0.5) * sched.Step(2, gamma=0.75),
        [1.0, 0.5 + 0.5 * (0.5 + 0.5 * ROOT_HALF), 0.625, 0.5 + 0.25 * (0.5 - 0.5 * ROOT_HALF), 0.5],
        total=8,
        bad=[
            Bad(lambda: sched.Product([]), r"Product: parts=\[\] leaves no schedule"),
            Bad(lambda: sched.Product([3]), r"Product: the part 3 is no schedule, got int", TypeError),
            Bad(lambda: sched.Cosine() * 0.5, r"Cosine \* 0.5: a schedule combines with a schedule", TypeError),
            Bad(
                lambda: (sched.OneCycle() * sched.Cyclic(2, max_lr=1.0)).companions,
                r"Product: two of its parts move the momentum; switch it off in one of them",
            ),
            Bad(lambda: (sched.Cosine(4) * sched.Step(2)).value(0, -1.0), r"Step: base=-1.0 must be >= 0"),
        ],
    ),
]

BAD = [(f"{case.name}-{i}", bad) for case in CASES for i, bad in enumerate(case.bad)]

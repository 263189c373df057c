"""Races beside sequential hand-written loops, beside Optuna and beside Ray Tune.

`python benchmarks/race.py [linear] [mlp] [mnist] [convnet] [halving] [trials] [auto] [long] [ray] [gpu]`: all but
`ray` (where it is installed) and `gpu` without arguments. Each part takes less than two minutes on two cores, `long`
three. Ratios are ours / peer in time: 20 × faster is 0.05. The floors are the matrix products alone, forward and
backward, of all members together at the rate measured here.

**linear, mlp, mnist** are judged by what a race takes of itself (`step="auto"`), the kernel for chains of layers; the
whole step through torch's compiler, operations one by one, and the same with a fused update per member stand below.
What compiling costs is printed: of kernels with an empty cache, and of the whole step.

**halving.** Both sides choose among 64 candidates, four rules at sixteen rates, with 27 epochs for the last one left
and a third of the candidates going on at 1, 3 and 9 epochs. Three readings of "to the same best validation loss":

1. Optuna proposes 64 of its own (TPE, as it comes) and *stops as soon as* one is within 1 % of the best validation loss
   that our race has found at its end: it is told the goal, and may be lucky. Ours runs to its end. This one is judged.
2. The same with exactly our 64 candidates, in random order.
3. As a user who knows no goal has it: Optuna's whole study of the 64. What it found is printed beside what ours found.

Ours draws nothing: shared batches, one initial model, a fixed grid; the loss to be reached is the same in every round.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import thalweg as tw
from _record import Times, compare, emit, figure, measure, say
from thalweg.race.stack import Stack

warnings.filterwarnings("ignore")

RATES = tw.race.log(1e-5, 1e-1, 32)


@dataclass(frozen=True)
class Task:
    """A model and data that many members train on."""

    name: str
    model: Callable[[], nn.Module]
    x: Tensor
    y: Tensor
    loss: str
    batch: int
    steps: int

    def candidates(self, count: int) -> list[tw.race.Candidate]:
        return [tw.race.Candidate(tw.optim.Adam(lr=lr)) for lr in tw.race.log(1e-5, 1e-1, count)]


def numbers(name: str, widths: list[int], batch: int, steps: int) -> Task:
    """Least squares with an MLP (or a linear layer) over 10,000 rows."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10_000, widths[0], generator=generator)
    y = x @ torch.randn(widths[0], 1, generator=generator) + 0.1 * torch.randn(10_000, 1, generator=generator)
    return Task(name, lambda: mlp(widths), x, y, "mse", batch, steps)


def classes(name: str, batch: int, steps: int) -> Task:
    """An MNIST-shaped MLP."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20_000, 784, generator=generator), torch.randint(0, 10, (20_000,), generator=generator)
    return Task(name, lambda: mlp([784, 50, 10]), x, y, "cross_entropy", batch, steps)


def images(name: str, batch: int, steps: int) -> Task:
    """A small convnet on images of MNIST's shape."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(4_000, 1, 28, 28, generator=generator), torch.randint(0, 10, (4_000,), generator=generator)

    def model() -> nn.Module:
        head = (nn.Flatten(), nn.Linear(16 * 49, 10))
        first = (nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        return nn.Sequential(*first, nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *head)

    return Task(name, model, x, y, "cross_entropy", batch, steps)


def mlp(widths: list[int]) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


TASKS = {
    "linear": (numbers("32 rates, linear 10→1, batch 1000", [10, 1], 1000, 60), 1 / 20),
    "mlp": (numbers("32 rates, MLP 10-40-20-1, batch 256", [10, 40, 20, 1], 256, 40), 1 / 10),
    "mnist": (classes("32 rates, 784-50-10, batch 64", 64, 30), 1 / 3),
}


def loops(task: Task, model: nn.Module, count: int, steps: int, device: str = "cpu") -> list[nn.Module]:
    """The peer: one hand-written loop after the other, tensor slicing, fused Adam."""
    criterion = nn.MSELoss() if task.loss == "mse" else nn.CrossEntropyLoss()
    done = []
    for lr in tw.race.log(1e-5, 1e-1, count):
        own = copy.deepcopy(model)
        optimizer = torch.optim.Adam(own.parameters(), lr=lr, fused=True)
        made = 0
        while made < steps:
            order = torch.randperm(len(task.x), device=device)
            for start in range(0, len(task.x), task.batch):
                rows = order[start : start + task.batch]
                loss = criterion(own(task.x[rows]), task.y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                made += 1
                if made == steps:
                    break
        done.append(own)
    if device != "cpu":
        torch.cuda.synchronize()
    return done


def stack_of(task: Task, model: nn.Module, count: int, *, compiled: bool, update: str = "stacked") -> Stack:
    """Return a stack as a race makes it, ready to be advanced."""
    candidates = task.candidates(count)
    found = tw.race(
        model, (task.x, task.y), None, candidates[:1], loss=task.loss, batch_size=task.batch, steps=1, verbose=False
    )
    stack = Stack(found.entry, candidates, range(count), 10**6)
    assert update != "kernel" or stack.has_kernel
    stack.update = update
    if compiled:
        stack.compile()
        assert stack.compiled is not None, stack.compile_failure
    return stack


def product_floor(task: Task, count: int) -> float:
    """Return the seconds of the matrix products alone for one step of all members."""
    work = []
    layers = [layer for layer in task.model().modules() if isinstance(layer, nn.Linear)]
    for index, layer in enumerate(layers):
        h = torch.randn(count, layer.in_features, task.batch)
        g = torch.randn(count, layer.out_features, task.batch)
        w = torch.randn(count, layer.out_features, layer.in_features)
        work.append((h, g, w, index > 0))
    rounds = 30
    best = math.inf
    for _ in range(3):
        begun = time.perf_counter()
        for _ in range(rounds):
            for h, g, w, inner in work:
                if inner:
                    torch.bmm(w, h)
                    torch.bmm(g, h.transpose(1, 2))
                    torch.bmm(w.transpose(1, 2), g)
                else:
                    flat = w.reshape(-1, w.shape[2]) @ h[0]
                    flat @ h[0].T
        best = min(best, (time.perf_counter() - begun) / rounds)
    return best


def run_stacked(part: str) -> None:
    """One of the first three rows: per step in the steady state, and what compiling costs."""
    task, target = TASKS[part]
    torch.manual_seed(0)
    model = task.model()
    steps = task.steps
    stacks = {"kernel": stack_of(task, model, 32, compiled=False, update="kernel")}
    with tempfile.TemporaryDirectory() as empty:
        making = kernels_anew(part, empty)
    begun = time.perf_counter()
    stacks["compiled"] = stack_of(task, model, 32, compiled=True)
    seconds = time.perf_counter() - begun
    stacks["uncompiled"] = stack_of(task, model, 32, compiled=False)
    stacks["uncompiled, member by member"] = stack_of(task, model, 32, compiled=False, update="each")
    ways = {name: partial(stack.advance, steps) for name, stack in stacks.items()}
    times = measure({**ways, "loops": partial(loops, task, model, 32, steps)}, repeats=6)
    per_step = {name: Times(tuple(s / steps for s in taken.seconds)) for name, taken in times.items()}
    floor = product_floor(task, 32)
    peer = "32 hand-written loops, tensor slicing, fused Adam"
    more: dict[str, Any] = {"peer": "loops", "peer_name": peer, "unit": "ms", "floor": floor}
    emit(compare(f"{task.name}: a step of all", per_step, ours="kernel", target=target, **more))
    for name in ways:
        if name != "kernel":
            label = f"{task.name}: a step of all, {'whole step ' if name == 'compiled' else ''}{name}"
            emit(compare(label, per_step, ours=name, target=None, **more))
    median = {name: taken.median for name, taken in per_step.items()}
    median["uncompiled"] = min(median["uncompiled"], median["uncompiled, member by member"])
    for name, cost in (("kernel", making), ("compiled", seconds)):
        fast = median[name]
        pays = ", ".join(
            f"after {cost / (median[slow] - fast):,.0f} steps against {said}"
            if median[slow] > fast
            else f"never against {said}"
            for slow, said in (("uncompiled", "uncompiled stacking"), ("loops", "the loops"))
        )
        what = "kernels with an empty cache" if name == "kernel" else "the whole step"
        say(f"{task.name}: compiling {what} took {cost:.1f} s; it pays {pays}")
        for length in (100, 1_000, 10_000):
            walls = [cost + fast * length, median["uncompiled"] * length, median["loops"] * length]
            said = f"{name} {walls[0]:.1f} s, uncompiled {walls[1]:.1f} s, loops {walls[2]:.1f} s"
            say(f"  {length:,} steps, compiling included: {said}")


def kernels_anew(part: str, cache: str) -> float:
    """Return the seconds that a process without kernels on disk takes to make them."""
    program = (
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r}); import race\n"
        f"task = race.TASKS[{part!r}][0]; stack = race.stack_of(task, task.model(), 32, compiled=False)\n"
        "begun = time.perf_counter(); assert stack.has_kernel; print(time.perf_counter() - begun)"
    )
    own = {**os.environ, "THALWEG_CACHE": cache}
    done = subprocess.run([sys.executable, "-c", program], env=own, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def run_convnet() -> None:
    """16 members of a small convnet, the whole race with its measurements against the loops."""
    task = images("16 members, small convnet, batch 32", 32, 100)
    torch.manual_seed(0)
    model = task.model()
    notes: list[str] = []

    def ours() -> None:
        found = tw.race(
            model, (task.x, task.y), None, task.candidates(16), loss=task.loss, batch_size=task.batch,
            steps=task.steps, verbose=False,
        )  # fmt: skip
        notes[:] = found.notes

    times = measure({"race": ours, "loops": partial(loops, task, model, 16, task.steps)}, repeats=5)
    per_step = {name: Times(tuple(s / task.steps for s in taken.seconds)) for name, taken in times.items()}
    peer = "16 hand-written loops, tensor slicing, fused Adam"
    emit(compare(f"{task.name}: a step of all, measuring included", per_step, ours="race", peer="loops",
                 peer_name=peer, target=1.0, unit="ms"))  # fmt: skip
    say(f"{task.name}: {'; '.join(notes)}")


LONG = 90.0  # seconds of the race that auto has compiled, uncompiled
LONGEST = 15.0  # seconds of a study that does not come there
RULES = ("sgd", "adam", "rmsprop", "lion")


def digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    found = tw.data.load("digits")
    (x, y), (xv, yv) = found.train, found.valid
    as_tensors = [torch.as_tensor(part) for part in (x, y, xv, yv)]
    return (as_tensors[0].float(), as_tensors[1].long()), (as_tensors[2].float(), as_tensors[3].long())


def run_halving() -> None:
    """64 candidates over four rules by successive halving: the time to the same best validation loss."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    (x, y), (xv, yv) = digits()
    rates = tw.race.log(1e-4, 1e0, 16)
    torch.manual_seed(0)
    model = mlp([x.shape[1], 32, 10])
    epochs, batch = 27, 64
    per_epoch = -(-len(x) // batch)
    field = [tw.race.Candidate({"name": name, "lr": lr}) for name in RULES for lr in rates]
    best: dict[str, float] = {}
    updates = [0]
    runs: dict[tuple[bool, bool], list[tuple[bool, float]]] = {}

    def ours() -> float:
        begun = time.perf_counter()
        found = tw.race(
            model, (x, y), (xv, yv), field, loss="cross_entropy", epochs=epochs, batch_size=batch,
            halving=tw.race.Halving(3, rungs=4), verbose=False,
        )  # fmt: skip
        best["ours"], best["seconds"] = found.best.mean, time.perf_counter() - begun
        updates[0] = sum(member.step for member in found.members)
        return best["seconds"]

    torch_rules = {
        "sgd": partial(torch.optim.SGD, fused=True),
        "adam": partial(torch.optim.Adam, fused=True),
        "rmsprop": torch.optim.RMSprop,
    }

    def optimizer(name: str, params: Any, lr: float) -> torch.optim.Optimizer:
        return torch_rules[name](params, lr=lr) if name in torch_rules else tw.optim.Lion(lr=lr).optimizer(params)

    def peer(of_the_grid: bool, to_the_end: bool) -> float:
        """Return the seconds until a validation loss is ours to 1 %, or of the whole study."""
        begun = time.perf_counter()
        reached: list[float] = []
        criterion = nn.CrossEntropyLoss()

        def objective(trial: optuna.Trial) -> float:
            own = copy.deepcopy(model)
            made = optimizer(trial.suggest_categorical("rule", list(RULES)), own.parameters(),
                             trial.suggest_float("lr", 1e-4, 1.0, log=True))  # fmt: skip
            loss_now = math.inf
            for epoch in range(epochs):
                order = torch.randperm(len(x))
                for start in range(0, len(x), batch):
                    rows = order[start : start + batch]
                    loss = criterion(own(x[rows]), y[rows])
                    made.zero_grad()
                    loss.backward()
                    made.step()
                with torch.no_grad():
                    loss_now = float(criterion(own(xv), yv))
                if not math.isfinite(loss_now):
                    raise optuna.TrialPruned
                if loss_now <= 1.01 * best["ours"] and not reached:
                    reached.append(time.perf_counter() - begun)
                    if not to_the_end:
                        trial.study.stop()
                        return loss_now
                trial.report(loss_now, epoch + 1)
                if trial.should_prune():
                    raise optuna.TrialPruned
            return loss_now

        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        key = (of_the_grid, to_the_end)
        number = len(runs.setdefault(key, [])) + 1
        grid = optuna.samplers.GridSampler({"rule": list(RULES), "lr": list(rates)}, seed=number)
        sampler = grid if of_the_grid else optuna.samplers.TPESampler(seed=number)
        study = optuna.create_study(direction="minimize", sampler=sampler, pruner=pruner)
        study.optimize(objective, timeout=LONGEST, n_trials=len(field) if of_the_grid else None)
        took = time.perf_counter() - begun
        finished = [trial.value for trial in study.trials if trial.value is not None]
        runs[key].append((bool(reached), min(finished, default=math.inf)))
        return took if to_the_end or not reached else reached[0]

    begun = time.perf_counter()
    ours()  # what the peer has to reach
    say(f"halving: the first race of this process took {time.perf_counter() - begun:.2f} s")
    ours()
    contestants = {"race": ours, "tpe": partial(peer, False, False), "grid": partial(peer, True, False)}
    times = measure({**contestants, "whole": partial(peer, True, True)}, repeats=5, returned=True, warmup=0)
    case = "64 candidates over 4 rules, digits, successive halving: to the same best validation loss"
    driven = "successive-halving pruner, hand-written loop (fused)"
    floor = updates[0] / len(field) * product_floor(Task("", lambda: model, x, y, "", batch, 0), len(field))
    for name, said, target in (
        ("tpe", f"Optuna, TPE, {driven}, until it is there", 1 / 8),
        ("grid", f"Optuna, the same 64 in random order, {driven}, until it is there", None),
        ("whole", f"Optuna, the same 64 in random order, {driven}, all of them", None),
    ):
        emit(compare(case, times, ours="race", peer=name, peer_name=said, target=target, floor=floor))
    there = {key: f"{sum(came for came, _ in found)} of {len(found)}" for key, found in runs.items()}
    ended = ", ".join(f"{value:.4f}" for _, value in runs[True, True])
    say(
        f"halving: best validation loss ours {best['ours']:.4f}, {updates[0]} updates of members in all; Optuna came "
        f"there in {there[False, False]} studies with TPE (at most {LONGEST} s each), in {there[True, False]} over "
        f"the same candidates; whole studies ended at {ended}; {per_epoch} updates per epoch"
    )


def trivial_race(count: int) -> float:
    """Return the seconds of a race of so many trials that do nothing to speak of."""
    x = torch.ones(1, 1)
    begun = time.perf_counter()
    field = tw.race.grid("sgd", lr=tw.race.log(1e-6, 1e-1, count), seeds=[0])
    found = tw.race(nn.Linear(1, 1), (x, x), (x, x), field, steps=1, verbose=False, stacking="always")
    assert len(found.leaderboard) == count
    return time.perf_counter() - begun


def run_ray() -> None:
    """The same beside Ray Tune, on as many cores as there are; its start-up is not counted."""
    import ray
    from ray import tune

    count, few = 4000, 4
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")

    def trial(config: dict[str, float]) -> None:
        tune.report({"loss": config["lr"] ** 2})

    with tempfile.TemporaryDirectory() as folder:

        def peer() -> float:
            tuner = tune.Tuner(
                trial,
                param_space={"lr": tune.loguniform(1e-6, 1e-1)},
                tune_config=tune.TuneConfig(num_samples=few, metric="loss", mode="min"),
                run_config=tune.RunConfig(verbose=0, storage_path=folder),
            )
            begun = time.perf_counter()
            tuner.fit()
            return time.perf_counter() - begun

        times = measure({"race": partial(trivial_race, count), "ray": peer}, repeats=5, returned=True)
    ray.shutdown()
    each = {"race": count, "ray": few}
    per_trial = {name: Times(tuple(s / each[name] for s in taken.seconds)) for name, taken in times.items()}
    label = "4,000 trivial trials, overhead per trial"
    said = f"Ray Tune {ray.__version__} as it comes, {few} trials"
    emit(compare(label, per_trial, ours="race", peer="ray", peer_name=said, target=0.1, unit="ms"))


def run_trials() -> None:
    """4,000 trials that do nothing to speak of: what each of them costs."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    count = 4000

    def peer(sampler: Any, trials: int) -> float:
        study = optuna.create_study(sampler=sampler)
        begun = time.perf_counter()
        study.optimize(lambda trial: trial.suggest_float("lr", 1e-6, 1e-1, log=True) ** 2, n_trials=trials)
        return time.perf_counter() - begun

    # Optuna as it comes proposes by TPE, whose cost per trial grows with their number: fewer are enough to compare.
    few = 500
    drawn = partial(peer, optuna.samplers.RandomSampler(seed=0), count)
    proposed = partial(peer, None, few)
    times = measure(
        {"race": partial(trivial_race, count), "random": drawn, "default": proposed}, repeats=5, returned=True
    )
    trials = {"race": count, "random": count, "default": few}
    each = {name: Times(tuple(s / trials[name] for s in taken.seconds)) for name, taken in times.items()}
    label = "4,000 trivial trials, overhead per trial"
    as_it_comes = f"Optuna as it comes (TPE, in memory), {few} trials"
    emit(compare(label, each, ours="race", peer="default", peer_name=as_it_comes, target=0.1, unit="ms"))
    random = "Optuna, in memory, random sampler"
    emit(compare(label, each, ours="race", peer="random", peer_name=random, target=None, unit="ms"))
    emit(figure(f"{label}, absolute", each["race"].median * 1e3, 0.2, peer_name="0.2 ms", unit="ms", target=1.0))


def run_auto() -> None:
    """``auto`` against uncompiled stacking and against one after the other, whole races."""
    for part, steps in (("linear", 300), ("linear", 1_000), ("mlp", 300), ("mnist", 100), ("mnist", 300)):
        task, _ = TASKS[part]
        torch.manual_seed(0)
        model = task.model()

        def whole(task: Task = task, model: nn.Module = model, steps: int = steps, **how: Any) -> None:
            tw.race(model, (task.x, task.y), None, task.candidates(32), loss=task.loss, batch_size=task.batch,
                    steps=steps, verbose=False, **how)  # fmt: skip

        times = measure(
            {
                "auto": whole,
                "stacked, uncompiled": partial(whole, stacking="always", step="eager"),
                "one after the other": partial(whole, stacking="never"),
            },
            repeats=5,
        )
        for peer in ("stacked, uncompiled", "one after the other"):
            emit(compare(f"{task.name}, {steps} steps: auto", times, ours="auto", peer=peer, target=1.03))


def run_long() -> None:
    """A race so long that ``auto`` has the whole step compiled: layers of which the kernel knows one too few (GELU)."""
    task = TASKS["mlp"][0]
    name = "32 rates, MLP 10-40-20-1 with GELU, batch 256"
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.GELU() if isinstance(layer, nn.ReLU) else layer for layer in task.model()))
    gelu = Task(name, lambda: model, task.x, task.y, task.loss, task.batch, 0)
    stack = stack_of(gelu, model, 32, compiled=False)
    stack.advance(50)
    begun = time.perf_counter()
    stack.advance(200)
    steps = math.ceil(LONG / (time.perf_counter() - begun) * 200)
    notes: list[str] = []

    def whole(steps: int, **how: Any) -> float:
        begun = time.perf_counter()
        found = tw.race(model, (task.x, task.y), None, task.candidates(32), loss=task.loss, batch_size=task.batch,
                        steps=steps, verbose=False, **how)  # fmt: skip
        notes[:] = found.notes
        return time.perf_counter() - begun

    eager = whole(steps, stacking="always", step="eager")
    part = 40
    alone = whole(steps // part, stacking="never") * part
    auto = whole(steps)
    say(f"{name}: {steps:,} steps; {'; '.join(notes)}")
    label = f"{name}, {steps:,} steps: auto, compiling included, once"
    emit(figure(label, auto, eager, peer_name="stacked, uncompiled", unit="s", target=1.03))
    said = f"one after the other, from one {part}th of the steps"
    emit(figure(label, auto, alone, peer_name=said, unit="s", target=1.03))


def run_gpu() -> None:
    """64 members on an accelerator."""
    device = "cuda"
    for name, task in (("MNIST MLP", classes("", 64, 100)), ("small convnet", images("", 32, 60))):
        task = Task(name, task.model, task.x.to(device), task.y.to(device), task.loss, task.batch, task.steps)
        torch.manual_seed(0)
        model = task.model().to(device)
        ways = {"uncompiled": stack_of(task, model, 64, compiled=False)}
        begun = time.perf_counter()
        ways["compiled"] = stack_of(task, model, 64, compiled=True)
        say(f"{name}: compiling took {time.perf_counter() - begun:.1f} s")
        run = {way: partial(stack.advance, task.steps) for way, stack in ways.items()}
        times = measure({**run, "loops": partial(loops, task, model, 64, task.steps, device)}, repeats=5)
        per_step = {way: Times(tuple(s / task.steps for s in taken.seconds)) for way, taken in times.items()}
        for way in ways:
            emit(compare(f"64 members, {name}: a step of all, {way}", per_step, ours=way, peer="loops",
                         peer_name="64 hand-written loops, fused Adam", unit="ms",
                         target=1 / 15 if way == "compiled" else None))  # fmt: skip


PARTS: dict[str, Callable[[], None]] = {
    **{part: partial(run_stacked, part) for part in TASKS},
    "convnet": run_convnet,
    "halving": run_halving,
    "trials": run_trials,
    "auto": run_auto,
    "long": run_long,
    "ray": run_ray,
    "gpu": run_gpu,
}


def main() -> None:
    """Measure what was asked for and print."""
    there = {"gpu": torch.cuda.is_available(), "ray": importlib.util.find_spec("ray") is not None}
    for part in sys.argv[1:] or [part for part in PARTS if there.get(part, True)]:
        if part not in PARTS:
            raise SystemExit(f"race: unknown part {part!r}; known: {', '.join(PARTS)}")
        PARTS[part]()


if __name__ == "__main__":
    main()

"""Training loops side by side: an MLP, a least squares, a small convnet, and the whole step compiled.

`python benchmarks/loop.py [mlp] [least_squares] [convnet] [whole_step]`; all without arguments, about 20 minutes on two
cores. The floors are the matrix products alone (forward and backward of the same shapes) at the rate measured here.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

import thalweg as tw
from _loop_peers import TRAINERS, Task, dataloader_loop, slices
from _record import Times, compare, emit, fastest, measure, say
from thalweg.data import load

warnings.filterwarnings("ignore")
for name in ("lightning.pytorch", "lightning", "accelerate", "transformers"):
    logging.getLogger(name).setLevel(logging.ERROR)


def ours(task: Task, step: str = "auto") -> tw.Learner:
    """Thalweg with its default recording; nothing is printed."""
    loss = {nn.CrossEntropyLoss: "cross_entropy", nn.MSELoss: "mse"}[task.loss]
    learner = tw.Learner(task.model(), optimizer=task.optimizer, lr=task.lr, loss=loss, step=step, device="cpu")
    learner.fit((task.x, task.y), epochs=task.epochs, batch_size=task.batch, verbose=False)
    return learner


def mlp(epochs: int = 1) -> Task:
    """50,000×784, 784-50-10, Adam, batch 64."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(50_000, 784, generator=generator), torch.randint(0, 10, (50_000,), generator=generator)

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))

    return Task(x, y, model, nn.CrossEntropyLoss, "adam", 1e-3, 64, epochs)


def least_squares(epochs: int = 1000) -> Task:
    """10,000×10, SGD, batch 1000."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10_000, 10, generator=generator)
    y = x @ torch.randn(10, 1, generator=generator) + 0.1 * torch.randn(10_000, 1, generator=generator)
    return Task(x, y, lambda: nn.Sequential(nn.Linear(10, 1)), nn.MSELoss, "sgd", 1e-2, 1000, epochs)


def convnet(epochs: int = 3) -> Task:
    """A small convnet on Fashion-MNIST's 50,000 training images."""
    x, y = load("fashion-mnist", flat=False).train

    def model() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 49, 10),
        )

    images = torch.as_tensor(x)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    return Task(images, torch.as_tensor(y), model, nn.CrossEntropyLoss, "adam", 1e-3, 64, epochs)


def gemm_floor(task: Task) -> float:
    """Return the seconds that the linear layers' products alone take over the whole task (forward and backward)."""
    layers = [m for m in task.model().modules() if isinstance(m, nn.Linear)]
    batch = task.batch
    work = []
    for index, layer in enumerate(layers):
        x, g = torch.randn(batch, layer.in_features), torch.randn(batch, layer.out_features)
        w = layer.weight.detach()
        work.append((x, g, w, index > 0))
    steps = task.epochs * -(-len(task.x) // batch)
    rounds = 200
    with torch.no_grad():
        start = time.perf_counter()
        for _ in range(rounds):
            for x, g, w, inner in work:
                x @ w.T
                g.T @ x
                if inner:
                    g @ w
    return (time.perf_counter() - start) / rounds * steps


def quickest_trainer(task: Task, epochs: int) -> str:
    """Return the trainer that is fastest over a few epochs, so that only it need run the whole length."""
    short = dataclasses.replace(task, epochs=epochs)
    seconds = {}
    for name, train in TRAINERS.items():
        train(dataclasses.replace(task, epochs=1))
        start = time.perf_counter()
        train(short)
        seconds[name] = time.perf_counter() - start
        say(f"{name}: {seconds[name]:.2f} s for {epochs} epochs")
    return min(seconds, key=lambda name: seconds[name])


def run_mlp() -> None:
    task = mlp()
    contestants: dict[str, Callable[[], object]] = {
        "ours": partial(ours, task),
        "slices": partial(slices, task),
        "slices + buffer": partial(slices, task, buffer=True),
        "DataLoader loop": partial(dataloader_loop, task),
        **{name: partial(train, task) for name, train in TRAINERS.items()},
    }
    everybody = measure(contestants, repeats=5, warmup=1)
    best = fastest(everybody, TRAINERS)
    # an epoch takes half a second, and the machine's speed moves within it: those that are close go on for longer
    close = ("ours", "slices", "slices + buffer", best)
    times = {**everybody, **measure({name: contestants[name] for name in close}, repeats=21, warmup=1)}
    floor = gemm_floor(task)
    case = "MLP 784-50-10, one epoch of 50,000, Adam, batch 64"
    emit(compare(case, times, ours="ours", peer=best, peer_name=f"{best} (fastest trainer)", target=0.45, floor=floor))
    hand = "tensor slices, fused Adam"
    emit(compare(case, times, ours="ours", peer="slices", peer_name=hand, target=0.92, floor=floor))
    kept = f"{hand}, losses kept in a buffer"
    emit(compare(case, times, ours="ours", peer="slices + buffer", peer_name=kept, target=None, floor=floor))
    for name in ("DataLoader loop", *(name for name in TRAINERS if name != best)):
        emit(compare(case, everybody, ours="ours", peer=name, target=None, floor=floor))


def run_least_squares() -> None:
    task = least_squares()
    best = quickest_trainer(task, 20)
    contestants: dict[str, Callable[[], object]] = {
        "ours": partial(ours, task),
        "slices": partial(slices, task),
        "slices + buffer": partial(slices, task, buffer=True),
        best: partial(TRAINERS[best], task),
    }
    times = measure(contestants, repeats=5, warmup=1)
    floor = gemm_floor(task)
    case = "least squares 10,000×10, SGD, batch 1000, 1,000 epochs"
    emit(compare(case, times, ours="ours", peer=best, peer_name=f"{best} (fastest trainer)", target=0.15, floor=floor))
    emit(
        compare(case, times, ours="ours", peer="slices", peer_name="tensor slices, fused SGD", target=1.05, floor=floor)
    )
    kept = "tensor slices, fused SGD, losses kept in a buffer"
    emit(compare(case, times, ours="ours", peer="slices + buffer", peer_name=kept, target=None, floor=floor))


def run_convnet() -> None:
    task = convnet()
    contestants: dict[str, Callable[[], object]] = {"ours": partial(ours, task), "slices": partial(slices, task)}
    times = measure(contestants, repeats=5, warmup=1)
    case = "small convnet on Fashion-MNIST, 3 epochs, Adam, batch 64"
    emit(compare(case, times, ours="ours", peer="slices", peer_name="tensor slices, fused Adam", target=1.05))


class Clock(tw.Hook):
    """Times epochs from the second on: the steady state."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_end(self, run: object, row: dict[str, float]) -> None:
        self.seconds.append(row["seconds"])


def steady(task: Task, step: str) -> tuple[list[float], float]:
    """Return the seconds of each epoch after the first, and what the first cost more than they (compilation)."""
    loss = {nn.CrossEntropyLoss: "cross_entropy", nn.MSELoss: "mse"}[task.loss]
    learner = tw.Learner(task.model(), optimizer=task.optimizer, lr=task.lr, loss=loss, step=step, device="cpu")
    clock = Clock()
    learner.fit((task.x, task.y), epochs=task.epochs, batch_size=task.batch, verbose=False, hooks=[clock])
    rest = clock.seconds[1:]
    return rest, clock.seconds[0] - sorted(rest)[len(rest) // 2]


def run_whole_step() -> None:
    for case, task in (
        ("MLP 784-50-10, batch 64", mlp(8)),
        ("least squares 10,000×10, batch 1000", least_squares(300)),
    ):
        one = dataclasses.replace(task, epochs=1)
        slices(one)
        compiled, first = steady(task, "compiled")
        hand: list[float] = []
        eager: list[float] = []
        short = dataclasses.replace(task, epochs=max(2, task.epochs // 4 + 1))
        again: list[float] = []
        for _ in range(5):  # alternating, each in its steady state
            start = time.perf_counter()
            slices(dataclasses.replace(task, epochs=max(1, task.epochs // 8)))
            hand.append((time.perf_counter() - start) / max(1, task.epochs // 8))
            eager.extend(steady(short, "eager")[0])
            rest, second = steady(short, "compiled")
            again.extend(rest)
        steps = -(-len(task.x) // task.batch)
        times = {
            "compiled": Times(tuple(s / steps for s in compiled[-3:] + again)),
            "slices": Times(tuple(s / steps for s in hand)),
            "eager": Times(tuple(s / steps for s in eager)),
        }
        label = f"whole step compiled, {case}, per step in the steady state"
        floor = gemm_floor(one) / steps
        emit(
            compare(
                label,
                times,
                ours="compiled",
                peer="slices",
                peer_name="tensor slices, fused",
                target=0.80,
                unit="ms",
                floor=floor,
            )
        )
        emit(compare(label, times, ours="compiled", peer="eager", peer_name="our eager step", target=None, unit="ms"))
        saved = times["eager"].median - times["compiled"].median
        pays = f"{first / saved:,.0f}" if saved > 0 else "never"
        warm = f"{second / saved:,.0f}" if saved > 0 else "never"
        say(
            f"{case}: compiling took {first:.1f} s, with a warm cache {second:.1f} s; it pays after {pays} steps, "
            f"warm {warm}; step='auto' compiles from {tw.loop.PAYS_AFTER:,} steps on"
        )


PARTS = {"mlp": run_mlp, "least_squares": run_least_squares, "convnet": run_convnet, "whole_step": run_whole_step}


def main() -> None:
    """Measure what was asked for and print."""
    for part in sys.argv[1:] or PARTS:
        if part not in PARTS:
            raise SystemExit(f"loop: unknown part {part!r}; known: {', '.join(PARTS)}")
        PARTS[part]()


if __name__ == "__main__":
    main()

"""How many one-cycle epochs match five epochs of a tuned constant rate? MNIST, 784-50-10, batch 64, five seeds.

Both sides choose their rate by the validation loss of a seed that is not scored, from the same grid. Then, seed by
seed, one-cycle trainings of 1, 2, … 5 epochs are compared with the five epochs at the constant rate by validation loss;
the number is the shortest that is no worse. MNIST is needed (`make data`).

    python benchmarks/one_cycle.py
    python benchmarks/one_cycle.py --rows 10000 --optimizer sgd
"""

from __future__ import annotations

import argparse
import statistics

import torch
from torch import Tensor, nn

import thalweg as tw
from _record import emit, figure, say

EPOCHS = 5
GRIDS = {"adam": (1e-3, 3e-3, 1e-2, 3e-2), "sgd": (0.03, 0.1, 0.3, 1.0)}
Pair = tuple[Tensor, Tensor]


def loss_after(train: Pair, valid: Pair, optimizer: str, seed: int, lr: float, epochs: int, cycle: bool) -> float:
    """Return the validation loss after a training."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
    learner = tw.Learner(model, optimizer, "cross_entropy", lr=lr, device="cpu", seed=seed)
    if cycle:
        learner.fit_one_cycle(train, epochs, lr, batch_size=64, verbose=False)
    else:
        learner.fit(train, epochs=epochs, batch_size=64, verbose=False)
    return learner.evaluate(valid, batch_size=500)["loss"]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description="One cycle against a tuned constant rate.")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--optimizer", choices=list(GRIDS), default="adam")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    data = tw.data.load("mnist")
    train, valid = (data.train[0][: given.rows], data.train[1][: given.rows]), data.valid
    grid, setting = GRIDS[given.optimizer], (train, valid, given.optimizer)
    tuning = 99
    constant = min(grid, key=lambda lr: loss_after(*setting, tuning, lr, EPOCHS, False))
    cycled = min(grid, key=lambda lr: loss_after(*setting, tuning, lr, 3, True))
    say(f"{given.optimizer}: constant rate {constant:g}, highest rate of the cycle {cycled:g}")
    needed = []
    for seed in given.seeds:
        goal = loss_after(*setting, seed, constant, EPOCHS, False)
        count = EPOCHS + 1
        for epochs in range(1, EPOCHS + 1):
            loss = loss_after(*setting, seed, cycled, epochs, True)
            say(f"seed {seed}: one cycle of {epochs} epochs {loss:.4f}, {EPOCHS} epochs at a constant rate {goal:.4f}")
            if loss <= goal:
                count = epochs
                break
        needed.append(count)
    say(f"epochs needed, seed by seed: {needed} ({EPOCHS + 1}: more than {EPOCHS})")
    emit(
        figure(
            f"one-cycle epochs that match {EPOCHS} at a tuned constant rate, {given.optimizer}, MNIST, most of "
            f"{len(needed)} seeds (median {statistics.median(needed):g})",
            float(max(needed)),
            float(EPOCHS),
            peer_name="constant rate",
            unit="epochs",
            target=3 / EPOCHS,
        )
    )


if __name__ == "__main__":
    main()

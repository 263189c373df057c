# %% [markdown]
# # Learning rates
#
# The rate decides a run. Here are every schedule as a curve, one problem at a rate that is too small, right and too
# large, the finder that tells them apart beforehand, a warm-up printed epoch by epoch, and the two curves of one cycle.
# As a script it prints what a notebook would display, and writes its figures to the folder named on the command line,
# or to a temporary one.

# %%
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import thalweg as tw

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else Path(tempfile.mkdtemp())
FOLDER.mkdir(parents=True, exist_ok=True)


def show(thing: Any, name: str = "") -> Any:
    """What a cell ends in: a notebook displays it; a script prints it, or saves a figure under *name*."""
    if "ipykernel" not in sys.modules:
        if hasattr(thing, "savefig"):
            thing.savefig(FOLDER / f"{name}.png")
            thing = f"figure: {FOLDER / name}.png"
        print(thing, end="\n\n")
    return thing


# %% [markdown]
# ## Every schedule
#
# A schedule is a closed form of the step: `value(step, base)`. The base is 1 here. Drawn over 1,000 steps.

# %%
T = 1000
s = tw.schedule
schedules = {
    "constant": s.Constant(),
    "step": s.Step(250, gamma=0.5),
    "multi-step": s.MultiStep([300, 700], gamma=0.3),
    "exponential": s.Exponential(0.997),
    "linear": s.Linear(T, end_factor=0.05),
    "polynomial": s.Polynomial(T, power=2.0),
    "cosine": s.Cosine(T),
    "cosine with restarts": s.CosineRestarts(143, T_mult=2),
    "warm-up, then inverse square root": s.Warmup(100) >> s.InverseSqrt(100),
    "warm-up, then cosine": s.Warmup(100) >> s.Cosine(T - 100),
    "triangular": s.Cyclic(125, max_factor=4.0),
    "triangular2": s.Cyclic(125, mode="triangular2", max_factor=4.0),
    "one cycle": s.OneCycle(T),
    "one cycle, three phases": s.OneCycle(T, three_phase=True),
    "warm-up, stable, decay": s.WarmupStableDecay(warmup=100, decay=200),
    "a function": lambda t: 1 / (1 + 0.01 * t),
}
steps = np.arange(T)
curves = {name: s.make(given).resolve(T).value(steps, 1.0) for name, given in schedules.items()}
for name, values in curves.items():
    show(f"{name:<34} first {values[0]:.3g}, highest {values.max():.3g}, last {values[-1]:.3g}")
names = list(curves)
for part in range(0, len(names), 4):
    some = {name: curves[name] for name in names[part : part + 4]}
    show(tw.draw.schedule(steps, some), f"schedules-{part // 4 + 1}")

# %% [markdown]
# ## Too small, right, too large
#
# Digits (1,797 images of 8 × 8) and SGD, ten epochs at three rates.

# %%
data = tw.data.load("digits")
settings: dict[str, Any] = {"epochs": 10, "batch_size": 32, "verbose": False}


def learner(optimizer: str = "sgd", lr: float | None = None) -> tw.Learner:
    """A fresh one: the same weights and the same order every time."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return tw.Learner(model, optimizer, "cross_entropy", lr=lr, device="cpu", seed=0)


for word, rate in (("too small", 1e-3), ("right", 0.3), ("too large", 10.0)):
    try:
        row = learner(lr=rate).fit(data.train, valid=data.valid, **settings).epochs[-1]
        show(f"{word:<10} {rate:<6g} loss {row['loss']:.3f}, validation {row['val_loss']:.3f}")
    except FloatingPointError as error:
        show(f"{word:<10} {rate:<6g} {error}")

# %% [markdown]
# ## The finder
#
# One sweep of 100 updates under a rising rate; then, with `verify`, short trainings that decide by validation loss. The
# model is afterwards what it was, bit for bit.

# %%
one = learner()
found = one.lr_find(data.train, valid=data.valid, batch_size=32, verify=True)
show(found)
show(found.plot(), "finder")

# %%
history = one.fit(data.train, valid=data.valid, lr=found.suggestion, schedule="cosine", **settings)
show(f"ten epochs from {found.suggestion:g} on: validation loss {history.epochs[-1]['val_loss']:.3f}")

# %% [markdown]
# ## Warm-up, epoch by epoch
#
# The first four epochs raise the rate linearly; six more let it fall. With `every="epoch"` a schedule steps once per
# epoch; here it steps with every update, and the rate at the end of each epoch is printed.

# %%
warm = learner("adam", lr=0.01)
history = warm.fit(data.train, valid=data.valid, schedule=s.Warmup("4 epochs") >> s.Cosine(), **settings)
per_epoch = len(history) // 10
for row in history.epochs:
    rate = history["lr"][int(row["epoch"]) * per_epoch - 1]
    show(f"epoch {int(row['epoch']):>2}: rate {rate:.5f}, loss {row['loss']:.3f}, validation {row['val_loss']:.3f}")

# %% [markdown]
# ## One cycle
#
# The rate rises to its peak and falls to almost nothing; the momentum does the opposite.

# %%
cycle = learner("adam")
cycle.fit_one_cycle(data.train, epochs=10, lr=0.02, valid=data.valid, batch_size=32, verbose=False)
show(f"validation loss {cycle.history.epochs[-1]['val_loss']:.3f}")
show(cycle.plot(), "one-cycle")

# %% [markdown]
# # Transfer
#
# A small convnet learns Fashion-MNIST; its head is replaced and it is fine-tuned on a few MNIST digits. Three ways are
# compared: gradual unfreezing with discriminative rates, one tuned rate for all layers, and training from scratch. Each
# way chooses its rate on a validation part by a seed that is not reported; the table holds the accuracy on 2,000 test
# digits, whatever it shows.
#
# The sizes are small so that the script takes well under a minute; `--full` trains on all of Fashion-MNIST, fine-tunes
# on 1,000 digits and reports five seeds. Where the two data sets are not there (`thalweg data mnist fashion-mnist`
# obtains them), halves of scikit-learn's digits stand in: the body learns 0 to 4, the head 5 to 9.

# %%
import copy
import itertools
import statistics
import sys

import torch
from torch import Tensor, nn

import thalweg as tw

FULL = "--full" in sys.argv
REAL = tw.data.is_obtained("mnist") and tw.data.is_obtained("fashion-mnist")
SEEDS = range(5) if FULL else range(2)
EPOCHS = 8 if FULL else 5
Pair = tuple[Tensor, Tensor]


def rows(pair: Pair, count: int, seed: int = 0) -> Pair:
    """Return *count* rows drawn by the seed."""
    order = torch.randperm(len(pair[1]), generator=torch.Generator().manual_seed(seed))[:count]
    return pair[0][order], pair[1][order]


if REAL:
    fashion, mnist = tw.data.load("fashion-mnist", flat=False), tw.data.load("mnist", flat=False)
    before = fashion.train if FULL else rows(fashion.train, 6000)
    part = rows(mnist.train, 1400 if FULL else 700)
    cut = 1000 if FULL else 500
    train, valid = (part[0][:cut], part[1][:cut]), (part[0][cut:], part[1][cut:])
    test = rows(mnist.test, 2000)
else:
    digits = tw.data.load("digits", flat=False)
    x, y = (torch.cat(parts) for parts in zip(digits.train, digits.valid, digits.test, strict=True))
    x = nn.functional.interpolate(x, size=28, mode="bilinear")
    before = (x[y < 5], y[y < 5])
    x, y = x[y >= 5], y[y >= 5] - 5
    train, valid, test = (x[:200], y[:200]), (x[200:400], y[200:400]), (x[400:], y[400:])
print(f"data: {'Fashion-MNIST, then MNIST' if REAL else 'digits 0-4, then 5-9'}; {len(train[1])} rows to fine-tune on")

# %% [markdown]
# ## The body


# %%
def convnet() -> nn.Module:
    """Three convolutions with BatchNorm, and a head."""
    widths = (1, 12, 24, 48)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48 * 4, 10))


def learner(model: nn.Module, seed: int) -> tw.Learner:
    """A learner with Adam."""
    return tw.Learner(model, "adam", "cross_entropy", metrics=["accuracy"], device="cpu", seed=seed)


torch.manual_seed(0)
body = learner(convnet(), 0)
body.fit_one_cycle(before, epochs=5 if FULL else 3, lr=5e-3, verbose=False)
print(f"first task: training loss {body.history.epochs[-1]['loss']:.3f}")

# %% [markdown]
# ## A new head
#
# `replace_head` finds the last linear layer by structure and says what it did.

# %%
classes = int(train[1].max()) + 1
print(tw.replace_head(copy.deepcopy(body.module), classes))
settings = {"batch_size": 32, "verbose": False}


def gradual(seed: int, lr: float) -> tw.Learner:
    """Thaw one layer group after the other, lower groups with lower rates, each stage under one cycle."""
    one = learner(pretrained(seed), seed)
    stages = [(-1, 1), (-2, 1), (0, EPOCHS - 2)]
    for first, epochs in stages:
        one.freeze_to(first)
        one.fit_one_cycle(train, epochs, slice(lr / 30, lr), **settings)
    return one


def one_rate(seed: int, lr: float) -> tw.Learner:
    """Train all layers at one rate under one cycle."""
    one = learner(pretrained(seed), seed)
    one.fit_one_cycle(train, EPOCHS, lr, **settings)
    return one


def scratch(seed: int, lr: float) -> tw.Learner:
    """Train all layers from new weights."""
    torch.manual_seed(seed)
    model = convnet()
    tw.replace_head(model, classes)
    one = learner(model, seed)
    one.fit_one_cycle(train, EPOCHS, lr, **settings)
    return one


def pretrained(seed: int) -> nn.Module:
    """Return a copy of the body with a new head."""
    model = copy.deepcopy(body.module)
    torch.manual_seed(seed)
    tw.replace_head(model, classes)
    return model


# %% [markdown]
# ## Three ways

# %%
WAYS = {"gradual unfreezing": gradual, "one rate": one_rate, "from scratch": scratch}
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
TUNING = 100  # a seed that is not reported
print(f"{'way':<20}{'rate':>8}{'test accuracy, mean':>22}{'lowest':>9}{'highest':>9}")
for name, way in WAYS.items():
    rate = min(RATES, key=lambda lr, way=way: way(TUNING, lr).evaluate(valid)["loss"])
    found = [way(seed, rate).evaluate(test)["accuracy"] for seed in SEEDS]
    print(f"{name:<20}{rate:>8.0e}{statistics.fmean(found):>22.2%}{min(found):>9.2%}{max(found):>9.2%}")

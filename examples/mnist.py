# %% [markdown]
# # MNIST: two models, one loss curve, and an optimizer that is built too often
#
# Handwritten digits as logistic regression (784-10) and as a small net (784-50-10): what the loss looks like raw and
# smoothed, and what goes wrong when Adam is made anew for every batch, as happens when the line that makes it stands
# inside the loop.
#
# MNIST is read from `./data` or from the folder in `THALWEG_DATA` (`make data` obtains it); where it is absent,
# scikit-learn's digits (1,797 images of 8 × 8) take its place, and the first line printed says which it was. All 50,000
# training rows are used, with and without a window; `ROWS` makes it fewer. As a script this takes about half a minute
# on one core, and writes its figures to the folder named on the command line, or to a temporary one.

# %%
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import thalweg as tw
from thalweg.draw import style

ROWS = 50_000  # training rows at most
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


try:
    data = tw.data.load("mnist")
except FileNotFoundError as absent:
    data = tw.data.load("digits")
    print(f"MNIST is absent, so these are scikit-learn's digits. {absent}\n")
train = (data.train[0][:ROWS], data.train[1][:ROWS])
EPOCHS = 3 if data.name == "mnist" else 40  # of batches of 64: 2,346 updates, or 760
show(data)

# %% [markdown]
# ## Logistic regression
#
# A linear map to ten scores; `cross_entropy` holds the softmax, so the model has none. Plain SGD with the penalty
# λΣw², λ = 1e-5, in the loss.

# %%
inputs, classes = data.train[0].shape[1], len(data.classes)
torch.manual_seed(0)
logistic = tw.compile(
    nn.Linear(inputs, classes), tw.optim.SGD(lr=0.1), "cross_entropy", ["accuracy"], penalty=tw.L2(1e-5), seed=0
)
logistic_history = logistic.fit(train, valid=data.valid, epochs=EPOCHS, log_every=max(1, EPOCHS // 4))
show(logistic.evaluate(data.test))

# %% [markdown]
# ## 784-50-10
#
# One hidden layer of 50 and Adam. `make_net` and `fit_adam` are used again below, so that every run starts from the
# same weights and takes the same batches in the same order: only what is compared differs.


# %%
def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 50), nn.ReLU(), nn.Linear(50, classes))


def fit_adam(lr: float, hooks: list[tw.Hook], **options: Any) -> tuple[tw.Learner, tw.History]:
    learner = tw.compile(make_net(), tw.optim.Adam(lr=lr), "cross_entropy", ["accuracy"], seed=0)
    return learner, learner.fit(train, epochs=EPOCHS, hooks=hooks, **options)


net, net_history = fit_adam(1e-3, [], valid=data.valid, log_every=max(1, EPOCHS // 4))
show(net.evaluate(data.test))

# %% [markdown]
# ## The loss, raw and smoothed
#
# Each update sees 64 rows, so the loss jumps from one to the next by more than it falls in a hundred updates. The raw
# curve (pale) shows that noise; the exponential average (β = 0.98, about the last fifty updates, divided by
# 1 − βᵗ so that it does not start at zero) shows where it is going. Both are in the history: `history["loss"]` and
# `history.smoothed`. The points are the validation loss after each epoch.

# %%
epochs = net_history.history
picture = tw.draw.loss_curve(
    net_history["step"], net_history["loss"], net_history.smoothed, valid=(epochs["step"], epochs["val_loss"])
)
show(picture, "loss_net")


# %%
def compare(curves: dict[str, tw.History], name: str) -> Any:
    """Raw and smoothed losses of several fits on one logarithmic axis."""
    figure = style.figure(3.4)
    axes = figure.add_subplot()
    for color, (label, history) in zip(style.SERIES, curves.items(), strict=False):
        axes.plot(history["step"], history["loss"], color=color, alpha=0.2, linewidth=0.6)
        axes.plot(history["step"], history.smoothed, color=color, linewidth=1.8, label=label)
    axes.set_yscale("log")
    style.dress(axes, "training loss", "update", steps=True)
    style.legend(axes)
    return show(figure, name)


compare({"logistic regression, SGD": logistic_history, f"{inputs}-50-{classes}, Adam": net_history}, "loss_both")

# %% [markdown]
# ## Adam built once, and Adam built at every batch
#
# A hook with a method `step` replaces the training step; everything else (batches, recording, evaluation) stays. This
# one does what a loop does whose `optimizer = Adam(...)` has slipped inside. `StepLength` only watches: how far an
# update moves those weights that move at all, as a multiple of the rate, and whether it goes on in the direction
# of the update before (the cosine between them: 1 the same, 0 unrelated).


# %%
class Rebuilt(tw.Hook):
    """A new Adam for every batch: its averages, and its count of steps, start over each time."""

    def step(self, run: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        optimizer = tw.optim.Adam(lr=run.optimizer.param_groups[0]["lr"]).optimizer(run.module.parameters())
        loss = F.cross_entropy(run.module(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss


class StepLength(tw.Hook):
    def on_fit_begin(self, run: Any) -> None:
        self.weights = nn.utils.parameters_to_vector(run.module.parameters()).detach()
        self.last = torch.zeros_like(self.weights)
        self.lengths: list[Tensor] = []
        self.cosines: list[Tensor] = []

    def on_step_end(self, run: Any) -> None:
        weights = nn.utils.parameters_to_vector(run.module.parameters()).detach()
        moved = weights - self.weights
        lr = run.optimizer.param_groups[0]["lr"]
        self.lengths.append(moved.abs().sum() / (moved != 0).sum() / lr)  # stays a tensor: nothing is read here
        self.cosines.append(F.cosine_similarity(moved, self.last, dim=0))
        self.weights, self.last = weights, moved


runs: dict[tuple[float, str], tw.History] = {}
print("rate    Adam built    test loss  accuracy  step length  cosine   (the last two: means from update 100 on)")
for lr in (1e-2, 1e-3, 1e-4):
    for way, hooks in (("once", []), ("every batch", [Rebuilt()])):
        watch = StepLength()
        learner, runs[lr, way] = fit_adam(lr, [*hooks, watch], verbose=False)
        found = learner.evaluate(data.test)
        length, cosine = (float(torch.stack(series)[100:].mean()) for series in (watch.lengths, watch.cosines))
        print(f"{lr:<6g}  {way:<12}  {found['loss']:9.3f}  {found['accuracy']:8.4f}  {length:11.2f}  {cosine:6.2f}")

# %%
compare({f"Adam built {way}": runs[1e-3, way] for way in ("once", "every batch")}, "adam_rebuilt")

# %% [markdown]
# ## Why the second is worse
#
# Adam moves a weight by $\eta\,\hat m_t / (\sqrt{\hat v_t} + \epsilon)$, where $\hat m_t$ and $\hat v_t$ are averages
# of the gradient and of its square: $m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t$, likewise $v_t$, each divided by
# $1 - \beta^t$ because it begins at zero. At $t = 1$ this correction undoes the averaging completely:
# $\hat m_1 = g$ and $\hat v_1 = g^2$, so that the step is $\eta\, g / (|g| + \epsilon)$. That is $\eta$ times the
# **sign** of the gradient, however large or small the gradient is:

# %%
weight = torch.zeros(3, requires_grad=True)
weight.grad = torch.tensor([300.0, -1.0, 0.0001])
tw.optim.Adam(lr=1e-3).optimizer([weight]).step()
show(weight.detach())

# %% [markdown]
# An Adam that is built at every batch is always at $t = 1$. The numbers printed on MNIST (three epochs) show the two
# things that are lost:
#
# - **The length of the step.** At the rate 1e-3 a weight moved by 0.97 of the rate per update, against 0.14 with Adam
#   built once. Where the gradients of successive batches disagree, $\hat m$ is small beside $\sqrt{\hat v}$ and Adam
#   takes a short step; late in training they disagree nearly everywhere. The sign knows nothing of that: all weights
#   keep jumping by the full rate, also those whose gradient is all noise. (At 1e-2 it is 0.82, because many gradients
#   have become as small as $\epsilon$ = 1e-8, the only thing that still shortens a step.)
# - **The averaging.** An update of Adam built once points almost where the one before did: cosine 0.90. Rebuilt, it
#   points anywhere, −0.01: each step follows the noise of its own 64 rows.
#
# What comes of it: for the first 400 updates, while all batches say the same, the two smoothed curves lie close
# together. Then the rebuilt one stays at 0.3, and the other goes on falling. On the test set that is 0.313 against
# 0.156, accuracy 0.929 against 0.954. A lower rate does shorten the steps, at the price of going slower: at 1e-4 both
# are far from done (0.357 against 0.343). A higher one makes it worse: at 1e-2 the loss is 0.814 although the accuracy
# is 0.945, almost 15 for each image that is wrong, so it errs with great confidence. Of the three rates, the best
# loss of the rebuilt Adam is twice that of the other.
#
# On the digits (40 epochs, 760 updates) 1e-3 is still on the way down, where full steps do little harm (0.165 against
# 0.156); 1e-2 shows it there too: 0.410 against 0.130.

# %% [markdown]
# # Optimizers: what they do, and which to take
#
# Every update rule here is a value that describes an equation; `rule.optimizer(parameters)` makes a
# `torch.optim.Optimizer` of it, for this loop or any other. The runs below are small (seconds on one core), so that
# what they show can be checked; `docs/choosing.md` says what follows from them, and what does not.
#
# The figures go to the folder named on the command line, or to a temporary one.

# %%
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import thalweg as tw
from thalweg import optim

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else Path(tempfile.mkdtemp())
FOLDER.mkdir(parents=True, exist_ok=True)


def save(figure: Figure, name: str) -> Figure:
    figure.tight_layout()
    figure.savefig(FOLDER / f"{name}.png", dpi=120)
    print(f"figure: {FOLDER / name}.png")
    return figure


def table(title: str, head: list[str], rows: list[list[object]]) -> None:
    cells = [head, *[[f"{x:.3g}" if isinstance(x, float) else str(x) for x in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    print(f"\n{title}")
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# %% [markdown]
# ## 1. The core optimizers on a small net
#
# Digits (1,797 images of 8 × 8), a 64-32-10 net, batches of 64, 5 epochs. Each rule gets four rates, each rate two
# seeds; the table shows the best mean accuracy on 360 held-out images, the rate it was reached with, and **over how
# many of the four rates the rule stays within two points of its best**, and its worst of the four: how much the choice
# of the rate matters.
#
# What the parameters mean:
#
# - `lr`: how far a step goes. For SGD it multiplies the gradient, for Adam it *is* about the step of each weight.
# - `momentum` (SGD, RMSprop) and `betas[0]` (Adam): how much of the previous direction is kept; 0.9 averages about ten.
# - `betas[1]` (Adam), `alpha` (RMSprop), `rho` (Adadelta): memory of the squared gradients that scale each weight.
# - `eps`: what is added to that scale, so that a weight without gradients does not jump.
# - `weight_decay`: see section 3; it means different things in different rules.

# %%
digits = load_digits()
order = torch.randperm(len(digits.data), generator=torch.Generator().manual_seed(0))
X, Y = torch.from_numpy(digits.data / 16).float()[order], torch.from_numpy(digits.target)[order]
TRAIN, TEST = slice(360, None), slice(0, 360)


def accuracy(rule: optim.Rule, seed: int, epochs: int = 5, width: int = 32) -> float:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = rule.optimizer(model.parameters())
    x, y = X[TRAIN], Y[TRAIN]
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    with optimizer.evaluating(), torch.no_grad():  # schedule-free rules are evaluated at their average
        return (model(X[TEST]).argmax(1) == Y[TEST]).float().mean().item()


RULES: dict[str, tuple[Callable[[float], optim.Rule], list[float]]] = {
    "SGD": (lambda lr: optim.SGD(lr=lr), [0.03, 0.1, 0.3, 1.0]),
    "SGD, momentum 0.9": (lambda lr: optim.SGD(lr=lr, momentum=0.9), [0.01, 0.03, 0.1, 0.3]),
    "Adam": (lambda lr: optim.Adam(lr=lr), [1e-3, 3e-3, 1e-2, 3e-2]),
    "AdamW": (lambda lr: optim.AdamW(lr=lr), [1e-3, 3e-3, 1e-2, 3e-2]),
    "RMSprop": (lambda lr: optim.RMSprop(lr=lr), [1e-3, 3e-3, 1e-2, 3e-2]),
    "Adagrad": (lambda lr: optim.Adagrad(lr=lr), [1e-2, 3e-2, 0.1, 0.3]),
    "Adafactor": (lambda lr: optim.Adafactor(lr=lr), [3e-2, 0.1, 0.3, 1.0]),
    "Lion": (lambda lr: optim.Lion(lr=lr), [3e-4, 1e-3, 3e-3, 1e-2]),
    "Muon + AdamW": (lambda lr: optim.Muon(lr=lr, other=optim.AdamW(lr=lr / 10)), [1e-2, 3e-2, 0.1, 0.3]),
    "schedule-free AdamW": (lambda lr: optim.ScheduleFreeAdamW(lr=lr), [1e-3, 3e-3, 1e-2, 3e-2]),
}
rows = []
for name, (make, rates) in RULES.items():
    means = [sum(accuracy(make(lr), seed) for seed in (0, 1)) / 2 for lr in rates]
    best = max(means)
    rows.append([name, best, rates[means.index(best)], f"{sum(m > best - 0.02 for m in means)} of 4", min(means)])
table("1. digits, small net", ["rule", "accuracy", "at rate", "rates within 0.02", "worst rate"], rows)

# %% [markdown]
# ## 2. Badly scaled inputs: what adaptive scales are for
#
# The same least squares twice; in the second, the columns of the input differ in size by a factor of 1,000. One rate
# for all weights is then too large for some and too small for the others; Adam gives each weight its own.

# %%
generator = torch.Generator().manual_seed(0)
A = torch.randn(512, 10, generator=generator)
b = A @ torch.ones(10) + 0.1 * torch.randn(512, generator=generator)


def least_squares(rule: optim.Rule, spread: float) -> float:
    """Loss after 500 full-batch steps, relative to the loss at zero."""
    scale = torch.logspace(0, -torch.tensor(spread).log10(), 10)
    w = torch.zeros(10, requires_grad=True)
    optimizer = rule.optimizer([w])
    for _ in range(500):
        optimizer.zero_grad()
        loss = ((A * scale @ w - b) ** 2).mean()
        loss.backward()
        optimizer.step()
    return ((A * scale @ w - b) ** 2).mean().item() / (b**2).mean().item()


rows = []
for name, make, rates in (
    ("SGD, momentum 0.9", lambda lr: optim.SGD(lr=lr, momentum=0.9), [0.01, 0.03, 0.1, 0.3]),
    ("Adam", lambda lr: optim.Adam(lr=lr), [0.03, 0.1, 0.3, 1.0, 3.0]),
):
    rows.append([name, *(min(least_squares(make(lr), spread) for lr in rates) for spread in (1.0, 1000.0))])
table("2. least squares, best of the rates", ["rule", "equal columns", "columns 1 to 1/1000"], rows)

# %% [markdown]
# ## 3. Weight decay's three forms
#
# 1. **A term in the loss**, λ‖w‖² (`tw.loss.L2`, as `wd * sum(w ** 2)` is written by hand): its gradient is 2λw.
# 2. **L2 in the gradient**, torch's `weight_decay` in SGD and Adam: λw, half of the above. For SGD the two are the same
#    thing up to that factor; in Adam both pass through the scale, so that a weight with large gradients is *hardly
#    decayed at all*.
# 3. **Decoupled**, `AdamW`: the weight shrinks by ηλ beside the step, whatever its gradient.
#
# One linear model with two kinds of input, of which the first has gradients 100 times larger. Neither matters (the
# targets are noise), so that decay alone decides how far the weights shrink from 1 in 300 steps; 500 of each are
# averaged.

# %%
sizes = torch.tensor([[10.0], [0.1]])


def shrink(rule: optim.Rule, in_the_loss: float = 0.0) -> list[float]:
    """Mean of the weights of each kind; their gradients are noise around zero."""
    drawn = torch.Generator().manual_seed(2)
    w = torch.ones(2, 500, requires_grad=True)
    optimizer = rule.optimizer([w])
    for _ in range(300):
        optimizer.zero_grad()
        inputs = sizes * torch.randn(2, 500, generator=drawn)
        ((inputs * w).sum() + in_the_loss * (w**2).sum()).backward()
        optimizer.step()
    return w.detach().mean(1).tolist()


decay = 0.1
table(
    f"3. two weights that start at 1, after 300 steps with decay {decay} (1 = not decayed)",
    ["form", "large gradients", "small gradients"],
    [
        ["none: Adam", *shrink(optim.Adam(lr=0.01))],
        ["in the loss, 2λw: Adam", *shrink(optim.Adam(lr=0.01), in_the_loss=decay)],
        ["in the gradient, λw: Adam", *shrink(optim.Adam(lr=0.01, weight_decay=decay))],
        ["decoupled: AdamW", *shrink(optim.AdamW(lr=0.01, weight_decay=decay))],
    ],
)

# %% [markdown]
# ## 4. Clipping an exploding recurrent net
#
# A recurrent net must remember the sign of its first input for 25 steps. It is made of ReLUs, and its recurrent matrix
# starts as 1.4 times an orthogonal one, so that gradients grow along the sequence. `clip_norm=1.0` scales the step down
# to that of a gradient of length 1; its direction stays, and the gradients themselves are not rewritten.


# %%
class Recurrent(nn.Module):
    def __init__(self, radius: float, nonlinearity: str, size: int = 24) -> None:
        super().__init__()
        self.rnn = nn.RNN(1, size, nonlinearity=nonlinearity, batch_first=True)
        self.head = nn.Linear(size, 1)
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(radius * torch.linalg.qr(torch.randn(size, size))[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1]).squeeze(-1)


def remember(
    rule: optim.Rule, clip: float | None, radius: float, nonlinearity: str, seed: int, steps: int = 100
) -> tuple[list[float], list[float]]:
    """Losses and gradient norms of a run."""
    torch.manual_seed(seed)
    model = Recurrent(radius, nonlinearity)
    optimizer = rule.optimizer(model.parameters(), clip_norm=clip)
    losses, norms = [], []
    for _ in range(steps):
        x = 0.1 * torch.randn(64, 25, 1)
        x[:, 0, 0] = torch.randn(64).sign()
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(x), (x[:, 0, 0] > 0).float())
        loss.backward()
        norms.append(torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in model.parameters()])).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


rows, curves = [], {}
for name, clip in (("without", None), ("clip_norm=1.0", 1.0)):
    for seed in (0, 1):
        losses, norms = remember(optim.SGD(lr=0.03, momentum=0.9), clip, 1.4, "relu", seed)
        curves.setdefault(name, (losses, norms))
        rows.append([name, seed, max(norms), sum(losses[-30:]) / 30])
table("4. exploding net, SGD with momentum", ["", "seed", "largest gradient", "loss, last 30 steps"], rows)

figure = Figure(figsize=(8, 3))
for axes, index, label in zip(figure.subplots(1, 2), (1, 0), ("gradient norm", "loss"), strict=True):
    for name, series in curves.items():
        axes.plot(series[index], label=name, linewidth=1)
    axes.set(xlabel="step", ylabel=label, yscale="log")
    axes.legend()
save(figure, "clipping")

# %% [markdown]
# ## 5. Lookahead's slow and fast weights
#
# On a narrow valley with noisy gradients the fast weights (SGD) swing from wall to wall; every fifth step the slow
# weights go half of the way to them, which cancels most of the swing.


# %%
def valley(rule: optim.Rule, steps: int = 60, noise: float = 0.5) -> tuple[Tensor, float]:
    """The path in a valley of steepness 1 and 30, and the mean loss over the last half."""
    drawn = torch.Generator().manual_seed(1)
    steep = torch.tensor([1.0, 30.0])
    w = torch.tensor([-3.0, 1.0])
    optimizer = rule.optimizer([w])
    path, losses = [w.clone()], []
    for _ in range(steps):
        w.grad = steep * w + noise * steep.sqrt() * torch.randn(2, generator=drawn)
        optimizer.step()
        path.append(w.clone())
        losses.append(0.5 * (steep * w**2).sum().item())
    return torch.stack(path), sum(losses[steps // 2 :]) / (steps - steps // 2)


rows = []
for lr in (0.02, 0.04, 0.06):
    wrapped = optim.Lookahead(optim.SGD(lr=lr), k=5, alpha=0.5)
    rows.append([lr, valley(optim.SGD(lr=lr), 1000)[1], valley(wrapped, 1000)[1]])
table("5. mean loss in a noisy valley, last 500 of 1000 steps", ["rate", "SGD", "Lookahead(SGD, k=5)"], rows)

fast, _ = valley(optim.SGD(lr=0.06))
looked, _ = valley(optim.Lookahead(optim.SGD(lr=0.06), k=5, alpha=0.5))
figure = Figure(figsize=(8, 3.4))
axes = figure.subplots()
grid_x, grid_y = torch.meshgrid(torch.linspace(-3.4, 1, 80), torch.linspace(-1.2, 1.2, 80), indexing="xy")
axes.contour(grid_x, grid_y, 0.5 * (grid_x**2 + 30 * grid_y**2), levels=12, colors="0.8", linewidths=0.6)
axes.plot(*fast.T, color="tab:orange", linewidth=0.8, label="SGD")
axes.plot(*looked.T, color="tab:blue", linewidth=0.8, label="fast weights")
axes.plot(*looked[::5].T, "o-", color="tab:blue", markersize=4, linewidth=1.6, label="slow weights")
axes.legend(loc="upper right")
save(figure, "lookahead")

# %% [markdown]
# ## 6. Sequences: is it RMSprop?
#
# The task of section 4 with tanh and an orthogonal recurrent matrix, clipped; three rates per rule, two seeds: mean
# loss of the last 30 of 100 steps at the best rate (0.69 is guessing).

# %%
rows = []
for name, make, rates in (
    ("SGD", lambda lr: optim.SGD(lr=lr), [0.03, 0.1, 0.3]),
    ("SGD, momentum 0.9", lambda lr: optim.SGD(lr=lr, momentum=0.9), [0.01, 0.03, 0.1]),
    ("RMSprop", lambda lr: optim.RMSprop(lr=lr), [1e-3, 3e-3, 1e-2]),
    ("Adam", lambda lr: optim.Adam(lr=lr), [1e-3, 3e-3, 1e-2]),
):
    results = []
    for lr in rates:
        tails = [sum(remember(make(lr), 1.0, 1.0, "tanh", seed)[0][-30:]) / 30 for seed in (0, 1)]
        results.append(sum(tails) / 2)
    rows.append([name, min(results), rates[results.index(min(results))]])
table("6. remembering over 25 steps", ["rule", "loss", "at rate"], rows)

# %% [markdown]
# ## 7. A small transformer
#
# One block of width 32 on the text of the Zen of Python, next character from the last 32, 100 steps of 16 windows;
# training loss over the last 20 steps, best of three rates, mean of two seeds.

# %%
import codecs
import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):
    import this
text = codecs.decode(this.s, "rot13")
letters = sorted(set(text))
codes = torch.tensor([letters.index(c) for c in text])


class Block(nn.Module):
    def __init__(self, width: int = 32, context: int = 32) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(len(letters), width), nn.Embedding(context, width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, len(letters))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.place.weight[: x.shape[1]]
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(self.norm(h)).chunk(3, -1))
        h = h + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return self.head(h + self.mlp(h))


def characters(rule: optim.Rule, seed: int, steps: int = 100) -> float:
    torch.manual_seed(seed)
    model = Block()
    optimizer = rule.optimizer(model.parameters(), clip_norm=1.0)
    losses = []
    for _ in range(steps):
        starts = torch.randint(0, len(codes) - 33, (16,))
        window = codes[starts[:, None] + torch.arange(33)]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-20:]) / 20


rows = []
for name, make, rates in (
    ("SGD, momentum 0.9", lambda lr: optim.SGD(lr=lr, momentum=0.9), [0.1, 0.3, 1.0]),
    ("RMSprop", lambda lr: optim.RMSprop(lr=lr), [3e-3, 1e-2, 3e-2]),
    ("Adam", lambda lr: optim.Adam(lr=lr), [3e-3, 1e-2, 3e-2]),
    ("AdamW", lambda lr: optim.AdamW(lr=lr), [3e-3, 1e-2, 3e-2]),
    ("Lion", lambda lr: optim.Lion(lr=lr), [1e-3, 3e-3, 1e-2]),
    ("Muon + AdamW", lambda lr: optim.Muon(lr=lr, other=optim.AdamW(lr=lr / 5)), [2e-2, 5e-2, 0.1]),
):
    means = [sum(characters(make(lr), seed) for seed in (0, 1)) / 2 for lr in rates]
    rows.append([name, min(means), rates[means.index(min(means))]])
table("7. one transformer block, training loss", ["rule", "loss", "at rate"], rows)

# %% [markdown]
# ## 8. Memory of the state
#
# Numbers kept beside each weight of a 1024 × 1024 matrix and its bias, counted from `rule.init`.

# %%
rows = []
for name, rule in (
    ("SGD", optim.SGD()),
    ("SGD, momentum 0.9", optim.SGD(momentum=0.9)),
    ("Lion", optim.Lion()),
    ("AdamW", optim.AdamW()),
    ("AdamW, amsgrad", optim.AdamW(amsgrad=True)),
    ("Adafactor", optim.Adafactor()),
    ("Adafactor, beta1=0.9", optim.Adafactor(beta1=0.9)),
    ("Muon + AdamW", optim.Muon(other=optim.AdamW())),
    ("Lookahead(AdamW)", optim.Lookahead(optim.AdamW())),
):
    weights = [torch.zeros(1024, 1024), torch.zeros(1024)]
    kept = sum(value.numel() for w in weights for value in rule.init(w).values())
    rows.append([name, round(kept / sum(w.numel() for w in weights), 4)])
table("8. state per weight", ["rule", "numbers per weight"], rows)

# %% [markdown]
# The same rules by name, as recipes write them:

# %%
tw.optim.make("lookahead", rule={"name": "adamw", "lr": 3e-4}, k=5)

# %% [markdown]
# # A race
#
# Which rule, which rate? 96 trainings of one model at once: a leaderboard with paired tests, the loss against
# the rate, an ensemble, halving, and a model that cannot be stacked. As a script it prints what a notebook would show,
# and writes its figures to the folder named on the command line, or to a temporary one.

# %%
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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


digits = tw.data.load("digits")
(X, y), (Xv, yv) = [(torch.as_tensor(x).float(), torch.as_tensor(t).long()) for x, t in (digits.train, digits.valid)]
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))

# %% [markdown]
# ## Four rules, eight rates, three seeds
#
# Members of one rule are one computation; each is what it would have been alone, dropout included. Equal seeds have
# the same initial weights and batches in every setting, which is what the paired test uses.

# %%
field = tw.race.grid(["sgd", "adam", "rmsprop", "lion"], lr=tw.race.log(1e-4, 1.0, 8), seeds=3)
found = tw.race(model, (X, y), (Xv, yv), field, loss="cross_entropy", epochs=5, verbose=False)
show(found)

# %%
show(found.plot(), "race")

# %% [markdown]
# ## The winner, and the mean of the best five

# %%
winner, together = found.module(), found.ensemble(top=5)


def accuracy(net: nn.Module) -> float:
    with torch.no_grad():
        return float((net(Xv).argmax(1) == yv).float().mean())


show(f"winner {accuracy(winner):.3f}, ensemble of five {accuracy(together):.3f}")

# %% [markdown]
# ## Successive halving
#
# After each rung the best third of the settings goes on, three times as far.

# %%
halved = tw.race(model, (X, y), (Xv, yv), field, loss="cross_entropy", epochs=5, halving=3, verbose=False)
whole, less = (sum(member.step for member in result.members) for result in (found, halved))
show(f"{halved.label(halved.best)}: {halved.best.mean:.3f} with {less:,} updates instead of {whole:,}")

# %% [markdown]
# ## A model that cannot be stacked
#
# Recurrent kernels have no batching rule. The same call trains them one after the other, and says so.


# %%
class Rows(nn.Module):
    """An LSTM that reads a digit row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.cell(x.view(-1, 8, 8))[0][:, -1])
        return out


recurrent = tw.race(
    Rows(), (X, y), (Xv, yv), tw.race.grid("adam", lr=[1e-3, 1e-2], seeds=[0], clip_norm=1.0), loss="cross_entropy",
    epochs=2, verbose=False,
)  # fmt: skip
show("\n".join(recurrent.notes))

# %% [markdown]
# # First steps
#
# A model, a plan, a rate, a training, a look at what happened: ten lines on scikit-learn's digits (1,797 images of
# 8 × 8), each in a cell that ends in what it shows. As a script it takes some seconds, prints what a notebook would
# display, and writes its figures to the folder named on the command line, or to a temporary one.

# %%
import sys
import tempfile
from pathlib import Path
from typing import Any

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
# ## Data and model
#
# Anything goes in as (X, y): tensors, arrays, tables, a `Dataset`, a `DataLoader`. These are tensors, in three parts.

# %%
data = tw.data.load("digits")
X, y = data.train
show(data)

# %% [markdown]
# `compile` puts a model, an update rule, a loss and metrics together. The optimizer goes by name here;
# `tw.optim.AdamW(...)` says more, and torch's own classes are taken too. The model ends in scores without a softmax,
# which is in the loss.

# %%
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10))
learner = tw.compile(model, optimizer="adamw", loss="cross_entropy", metrics=["accuracy"], seed=0)
show(learner)

# %% [markdown]
# What goes in, with its labels, and what it goes through:

# %%
show(learner.show_batch((X, y), count=12), "batch")

# %%
show(learner.summary((X, y)))

# %% [markdown]
# ## Before: what will happen
#
# The plan counts the real updates, draws the schedule, and says of every parameter what rate and what decay it gets,
# and why. Weight decay is kept off the biases. Nothing is trained.

# %%
show(learner.plan((X, y), epochs=10, schedule="one_cycle"))

# %% [markdown]
# ## Which rate
#
# The finder trains for some updates with a rising rate, leaves the learner bit for bit as it was, and suggests a rate,
# or says that none is reliable. The band is where noise cannot tell one rate from another.

# %%
found = learner.lr_find((X, y), valid=data.valid)
show(found)

# %%
show(found.plot(), "finder")

# %% [markdown]
# ## Training
#
# One cycle: the rate rises to the one found and falls to almost nothing, the momentum does the opposite.

# %%
history = learner.fit_one_cycle((X, y), valid=data.valid, epochs=10, lr=found.suggestion)
show(history)

# %% [markdown]
# The smoothed loss remembers about fifty updates, so that in a run of 190 it lags well behind the raw one; it is meant
# for longer ones.

# %%
show(learner.plot(), "history")

# %% [markdown]
# ## After: how good it is
#
# `evaluate` gives the loss and the metrics over all rows; `predict` gives probabilities, because the loss knows that
# this is what the scores mean. Those of the first test image, in percent:

# %%
show(learner.evaluate(data.test))

# %%
probabilities = learner.predict(data.test[0])
show(probabilities[0].mul(100).round().int().tolist())

# %% [markdown]
# The images of the test set that it is wrong about:

# %%
guess = probabilities.argmax(dim=1)
wrong = (guess != data.test[1]).nonzero().squeeze(1)[:12]
images = data.test[0][wrong].reshape(-1, 8, 8)
show(tw.draw.image_grid(images, data.test[1][wrong].tolist(), guess[wrong].tolist()), "wrong")

# %% [markdown]
# ## Keeping it
#
# The weights alone go into a safetensors file; `unwrap` gives the plain module back. (`fit(..., run_dir="runs/first")`
# keeps history, plan and checkpoints as well, and `fit(..., resume="runs/first")` goes on where it stopped.)

# %%
show(learner.save(FOLDER / "digits.safetensors"))

# %%
show(learner.unwrap())

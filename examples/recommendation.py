# %% [markdown]
# # Recommendation from ratings
#
# A spreadsheet of 15 users and 14 films: five factors by gradient descent, then the biases; an embedding as a one-hot
# product; weight decay from under- to over-fitting; and MovieLens-100k to its result, its best and worst films and its
# axes. Without MovieLens (`thalweg data ml-100k`) a made-up table stands in, and it says so. As a script it prints what
# a notebook would display, and writes its figures to the folder named on the command line, or to a temporary one.

# %%
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import thalweg as tw
from thalweg.recommend import Ratings, Recommender, movielens, split_fraction

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


def made_up() -> Ratings:
    """Ratings of 300 users with tastes for 120 films."""
    rng = np.random.default_rng(0)
    pair = rng.permutation(300 * 120)[:12_000]
    u, i = pair // 120, pair % 120
    taste, kind = rng.standard_normal((300, 3)), rng.standard_normal((120, 3))
    raw = (
        3.5 + 0.4 * rng.standard_normal(300)[u] + 0.5 * rng.standard_normal(120)[i] + 0.4 * (taste[u] * kind[i]).sum(1)
    )
    rating = np.clip(np.round(raw + 0.7 * rng.standard_normal(len(u))), 1, 5)
    titles = {film: f"Film {film}" for film in range(120)}
    return Ratings.of({"user": u, "item": i, "rating": rating}, titles=titles)


def load() -> Ratings:
    """MovieLens-100k, beside this file or in the working folder, else the made-up table."""
    for root in (None, Path(__file__).resolve().parent.parent / "data" if "__file__" in globals() else None):
        if tw.data.is_obtained("ml-100k", root):
            return movielens(root)
    print("MovieLens-100k has not been obtained (`thalweg data ml-100k`): a made-up table stands in.")
    return made_up()


ratings = load()
show(ratings)
show(ratings.show_batch(5))

# %% [markdown]
# ## The spreadsheet
#
# The 15 users with the most ratings, and the 14 films that are rated most: 210 cells, most of them filled.

# %%
users = torch.bincount(ratings.users).argsort(descending=True)[:15]
films = torch.bincount(ratings.items).argsort(descending=True)[:14]
table = torch.full((15, 14), float("nan"))
for row, user in enumerate(users):
    for column, film in enumerate(films):
        cell = ratings.values[(ratings.users == user) & (ratings.items == film)]
        if len(cell):
            table[row, column] = cell[0]
filled = ~table.isnan()
show("\n".join(" ".join("." if v.isnan() else f"{v:.0f}" for v in row) for row in table))

# %% [markdown]
# Five factors for each user and each film; a rating is the product of the two rows. The error of the filled cells goes
# down the gradient, and the empty cells fill themselves.

# %%
torch.manual_seed(0)
P, Q = (torch.rand(n, 5).requires_grad_(True) for n in (15, 14))
b, c = torch.zeros(15, 1, requires_grad=True), torch.zeros(1, 14, requires_grad=True)


def rms(prediction: Tensor) -> Tensor:
    return (prediction - table)[filled].square().mean().sqrt()


def descend(predict: Any, params: list[Tensor], steps: int) -> None:
    optimizer = tw.optim.SGD(lr=0.3).optimizer(params)
    for step in range(steps + 1):
        loss = (predict() - table)[filled].square().mean()
        if step % (steps // 4) == 0:
            print(f"step {step:4d}  RMS error {loss.item() ** 0.5:.3f}")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


descend(lambda: P @ Q.T, [P, Q], 200)
show(f"factors alone: RMS error {rms(P @ Q.T).item():.3f}")

# %% [markdown]
# Then the biases: how high a user rates at all, and how a film is liked at all.

# %%
descend(lambda: P @ Q.T + b + c, [P, Q, b, c], 200)
show(f"with biases: RMS error {rms(P @ Q.T + b + c).item():.3f}")

# %% [markdown]
# ## An embedding is a product with a one-hot vector
#
# Looking a row up gives what the product gives, without the multiplications by zero.

# %%
rows = torch.tensor([3, 0, 3])
one_hot = torch.nn.functional.one_hot(rows, 15).float()
show(f"equal: {torch.equal(one_hot @ P, torch.nn.functional.embedding(rows, P))}")

# %% [markdown]
# ## Weight decay, from over- to under-fitting

# %%
train, test = split_fraction(ratings, 0.1, seed=42)
lines = ["weight decay   training MSE   held-out MSE"]
for wd in (0.0, 0.1, 0.45, 1.5, 5.0):
    fitted = Recommender(wd=wd).fit(train)
    errors = [fitted.evaluate(part, relevant=None)["rmse"] ** 2 for part in (train, test)]
    lines.append(f"{wd:12.2f}   {errors[0]:12.4f}   {errors[1]:12.4f}")
show("\n".join(lines))

# %% [markdown]
# ## The whole table
#
# 40 factors, five epochs of one cycle; eight initialisations averaged; and Bayesian factors with histories.

# %%
recommender = Recommender().fit(train)
together = Recommender(members=8).fit(train)
sampled = Recommender(solver="gibbs", history=True, n_factors=16, samples=60).fit(train)
for name, one in (("one model", recommender), ("eight members", together), ("sampled", sampled)):
    found = one.evaluate(test)
    print(f"{name:14} " + "  ".join(f"{key} {value:.4f}" for key, value in found.items()))

# %%
user = ratings.user_ids.ids[0].item()
show(sampled.recommend(user, 5))
show(sampled.similar(ratings.item_ids.id_of(int(films[0])), 5))

# %% [markdown]
# ## What it has learnt
#
# A film's bias is how it is liked beyond its factors: by those, too, whose taste it does not meet. The axes in which
# the factors differ most have no names; the films at their ends suggest some.

# %%
reading = recommender.reading
show(reading.liked_beyond_factors(5, at_least=20))
show(reading.disliked_beyond_factors(5, at_least=20))
show(reading.pca(3).ends(5))
show(reading.map(labels=40, most_rated=300), "map")

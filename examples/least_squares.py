# %% [markdown]
# # Least squares, four ways
#
# The closed form, gradient descent by hand, by autograd, and mini-batch SGD on 10,000 × 10, the same numbers side by
# side; then a million rows in batches of 10,000, data that no line fits, and flights, houses and digits from disk where
# `thalweg data` has obtained them. As a script it prints what a notebook would display.

# %%
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import thalweg as tw


def show(thing: Any) -> None:
    """What a cell ends in."""
    if "ipykernel" not in sys.modules:
        print(thing, end="\n\n")


# %% [markdown]
# ## 10,000 rows of 10 columns
#
# y = X w + b + ε with a known w, ε of standard deviation 0.1.

# %%
data = tw.data.load("linear", n=10_000, features=10, noise=0.1, seed=0)
x, y = data.train
X, Y = x.numpy().astype(np.float64), y.numpy()[:, 0].astype(np.float64)
closed = tw.linear.LeastSquares().fit(X, Y)
show(closed.summary())

# %% [markdown]
# Gradient descent by hand: w ← w − η Xᵀ(Xw + b − y) / n, the same with autograd, and the estimator under the same rule.
# Columns of mean 0 and variance 1 already, so `standardize=False`.

# %%
STEPS, RATE = 100, 0.5
n = len(X)
centre = X.mean(0)
by_hand, offset = np.zeros(10), 0.0
for _ in range(STEPS):
    rest = (X - centre) @ by_hand + offset - Y
    by_hand, offset = by_hand - RATE * (X - centre).T @ rest / n, offset - RATE * rest.mean()

# %%
layer = torch.nn.Linear(10, 1, dtype=torch.float64)
torch.nn.init.zeros_(layer.weight)
torch.nn.init.zeros_(layer.bias)
rows, target = torch.from_numpy(X - centre), torch.from_numpy(Y)
optimizer = tw.optim.SGD(lr=RATE).optimizer(layer.parameters())
for _ in range(STEPS):
    optimizer.zero_grad()
    ((layer(rows)[:, 0] - target) ** 2).mean().div(2).backward()
    optimizer.step()

# %%
rule = tw.optim.SGD(lr=RATE)
descent = tw.linear.LeastSquares("gd", optimizer=rule, standardize=False, max_iter=1000, tol=1e-13).fit(X, Y)
batches = tw.linear.LeastSquares("sgd", epochs=20, batch_size=100, random_state=0).fit(X, Y)

# %%
ways = {
    "truth": data.truth["weight"][0].numpy(),
    "closed form": closed.coef_,
    "by hand": by_hand,
    "autograd": layer.weight.detach().numpy()[0],
    'solver="gd"': descent.coef_,
    'solver="sgd"': batches.coef_,
}
lines = [f"{'':>12}  " + "  ".join(f"{f'w{j}':>9}" for j in range(5)) + "   distance to the closed form"]
for name, coef in ways.items():
    off = np.linalg.norm(coef - closed.coef_) / np.linalg.norm(closed.coef_)
    lines.append(f"{name:>12}  " + "  ".join(f"{value:>9.5f}" for value in coef[:5]) + f"   {off:.1e}")
show("\n".join(lines))
assert np.allclose(by_hand, layer.weight.detach().numpy()[0], rtol=1e-9)
assert np.allclose(descent.coef_, closed.coef_, rtol=1e-8)
assert (abs(batches.coef_ - closed.coef_) <= 2 * closed.standard_errors_).all()

# %% [markdown]
# ## A million rows in batches of 10,000
#
# From a file, in one pass: the closed form adds the batches up exactly, SGD makes one update for each.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "million.npy"
    (wide_x, wide_y), truth = (lambda found: (found.train, found.truth))(tw.data.load("linear", n=1_000_000, seed=1))
    np.save(path, torch.cat([wide_x, wide_y], 1).numpy())
    source = tw.data.stream(path, target=10, batch_size=10_000)
    exact = tw.linear.LeastSquares().fit_stream(source)
    show(exact.accuracy_)
    one_pass = tw.linear.LeastSquares("sgd", epochs=1).fit_stream(source)
    off = abs(one_pass.coef_ - exact.coef_).max()
    show(f"{source.steps_per_epoch} batches of SGD: at most {off:.1e} from the closed form; R² {exact.r2_:.5f}")

# %% [markdown]
# ## What no line fits
#
# Friedman's function has a sine of a product and a square. Least squares finds the linear part; its residuals keep the
# rest. With the products and squares as columns it does better.

# %%
bent = tw.data.load("nonlinear", n=10_000, seed=0)
bx, by = (part.numpy().astype(np.float64) for part in bent.train)
line = tw.linear.LeastSquares().fit(bx, by[:, 0])
products = np.stack([bx[:, i] * bx[:, j] for i in range(10) for j in range(i, 10)], 1)
curve = tw.linear.LeastSquares().fit(np.hstack([bx, products]), by[:, 0])
show(f"R²: line {line.r2_:.3f}, with squares and products {curve.r2_:.3f}")

# %% [markdown]
# ## Real data
#
# `thalweg data flights california-housing mnist` obtains them.

# %%
root = tw.data.data_root()
path = root / "flights" / "flights-3m.parquet"
if path.exists():
    streamed = tw.data.stream(path, target="delay", columns=["date", "distance"], dtype=torch.float64)
    model = tw.linear.LeastSquares(verbose=True).fit_stream(streamed)
    show(model.summary())
else:
    show("flights are not there; `thalweg data flights` obtains them")

# %% [markdown]
# A stream turns dates into days and refuses text, of which `flights` has two columns: where from and where to. Whatever
# has a method `blocks` that yields (X, y, weights) can be fitted, though. This one adds the hour, and a column of zeros
# and ones for every airport but the first.


# %%
class Flights:
    """All columns of the flights as numbers, 16,384 rows at a time."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self.file = pq.ParquetFile(path)
        self.n = self.file.metadata.num_rows
        self.airports = {way: self.file.read([way])[way].unique().sort() for way in ("origin", "destination")}
        self.feature_names = ["date", "hour", "distance"]
        for way, names in self.airports.items():
            self.feature_names += [f"{way} {name}" for name in names.to_pylist()[1:]]

    def blocks(self) -> Any:
        import pyarrow.compute as pc

        held = np.empty((1 << 14, len(self.feature_names)), np.float32)
        for batch in self.file.iter_batches(len(held)):
            rows = held[: len(batch)]
            rows[:] = 0
            hours = batch["date"].to_numpy().astype("datetime64[us]").astype(np.int64) / 3_600e6
            rows[:, 0], rows[:, 1], rows[:, 2] = hours / 24, hours % 24, batch["distance"].to_numpy()
            first = 3
            for way, names in self.airports.items():
                codes = pc.index_in(batch[way], names).to_numpy()
                seen = np.flatnonzero(codes)
                rows[seen, first + codes[seen] - 1] = 1
                first += len(names) - 1
            yield rows, batch["delay"].to_numpy().astype(np.float32), None


if path.exists():
    flights = Flights(path)
    model = tw.linear.LeastSquares(verbose=True).fit_stream(flights)
    show(
        f"{len(model.coef_)} columns: R² {model.r2_:.4f}, {model.coef_[1]:.2f} ± {model.standard_errors_[1]:.2f} "
        f"minutes later per hour of the day; {model.accuracy_}"
    )

# %%
housing = root / "california-housing" / "california_housing.parquet.brotli"
if housing.exists():
    import pandas as pd

    frame = pd.read_parquet(housing)
    price = frame.columns[-1]
    show(tw.linear.LeastSquares().fit(frame.drop(columns=price), frame[price]).summary())
else:
    show("houses are not there; `thalweg data california-housing` obtains them")

# %%
if tw.data.is_obtained("mnist"):
    digits = tw.data.load("mnist")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", digits.train[0].numpy())
        np.save(Path(folder) / "y.npy", digits.train[1].numpy())
        images = tw.data.stream(Path(folder) / "x.npy", target=Path(folder) / "y.npy", batch_size=256)
        softmax = tw.linear.LogisticRegression(
            "sgd", optimizer=tw.optim.Adam(lr=5e-3), schedule="cosine", epochs=5, standardize=False
        ).fit_stream(images, classes=range(10))
    test_x, test_y = (part.numpy() for part in digits.test)
    show(f"MNIST from disk, softmax: {softmax.score(test_x, test_y):.4f} of the test images are right")
else:
    show("MNIST is not there; `thalweg data mnist` obtains it")

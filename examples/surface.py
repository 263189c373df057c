# %% [markdown]
# # The loss surface
#
# A surface of two variables cut by a line; least squares along a random line and through its optimum; five batches laid
# over each other; a network at two scales; and where its loss is not convex. As a script it prints what a notebook
# would display, and writes its figures to the folder named on the command line, or to a temporary one.

# %%
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
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


# %% [markdown]
# ## z = x² + y², cut by the line x + y = 0
#
# A model whose two weights *are* x and y, and whose loss is x² + y²: a surface like any other.


# %%
class Point(nn.Module):
    """Its output is its weights."""

    def __init__(self, *start: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.w.expand(len(x), -1)


def squared_length(output: Tensor, target: Tensor) -> Tensor:
    """x² + y² + …, for each row."""
    return output.square().sum(1)


row = torch.zeros(1, 1), torch.zeros(1, 1)
bowl = tw.compile(Point(0.0, 0.0), optimizer="sgd", lr=0.1, loss=squared_length)
e1, e2 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
surface = tw.surface.plane(bowl, row, None, e1, e2, points=41)
x, y = np.meshgrid(surface.alphas, surface.betas, indexing="ij")
near = np.abs(x + y) < 0.03
picture = surface.plot("3d")
picture.axes[0].scatter(x[near], y[near], surface.values[near] + 0.02, color="#be4800", s=12, zorder=20)
show(picture, "bowl")

# %% [markdown]
# Along the line, from (−1, 1) to (1, −1), every point (t, −t) has the height z = 2t²: the profile of the cut.

# %%
upright = tw.surface.section(bowl, row, None, e1, e2, start=(-1, 1), end=(1, -1), points=41)
assert np.allclose(upright.profile.values, 2 * upright.coordinates[:, 0] ** 2)
show(upright.plot(), "section")

# %%
cut = tw.surface.line(bowl, row, torch.tensor([0.0, 0.0]), direction=torch.tensor([1.0, -1.0]), points=101)
assert np.allclose(cut.values, 2 * cut.alphas**2)
show(cut.plot(), "profile")

# %% [markdown]
# The same profile is found by going from one point to another in 100 steps, in any dimension: here in 1,000.

# %%
far = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
space = tw.compile(Point(*[0.0] * 1000), optimizer="sgd", lr=0.1, loss=squared_length)
walk = tw.surface.line(space, row, far, -far, points=101)
assert np.allclose(walk.values, float(far @ far) * (1 - 2 * walk.alphas) ** 2)
show(walk.plot(), "walk")

# %% [markdown]
# ## Least squares, 10,000 × 10
#
# A random line far from the optimum is dull: a slope. Through the optimum it is a bowl, and the closed form agrees.

# %%
g = torch.Generator().manual_seed(1)
X = torch.randn(10_000, 10, generator=g)
y = X @ torch.randn(10, 1, generator=g) + 0.5 * torch.randn(10_000, 1, generator=g)
squares = tw.compile(nn.Linear(10, 1, bias=False), optimizer="sgd", lr=0.1, loss="mse", seed=0)
away = 20 * torch.randn(10, generator=g)
dull = tw.surface.random_line(squares, (X, y), away, 0.1, normalize="unit")
show(dull.plot(), "least-squares-random-line")

# %%
best = torch.linalg.lstsq(X, y).solution[:, 0]
through = tw.surface.random_line(squares, (X, y), best, 2.0, normalize="unit")
assert through.values.argmin() == 50
show(through.plot(), "least-squares-optimum")

# %%
show(tw.surface.curvature(squares, (X, y), best, largest=3, smallest=3, trace=50))

# %% [markdown]
# ## Five batches of 10,000 out of a million rows
#
# Each batch has a surface of its own; they are laid over each other.

# %%
million = torch.randn(1_000_000, 10, generator=g)
teacher = torch.tanh(million[:, :3].sum(1, keepdim=True)) + million[:, 3:4] * million[:, 4:5]
noisy = teacher + torch.randn(1_000_000, 1, generator=g)
torch.manual_seed(0)
network = nn.Sequential(nn.Linear(10, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 1))
learner = tw.compile(network, optimizer="adam", lr=3e-3, loss="mse", seed=0)
path = tw.surface.PathRecorder(keep=40)
learner.fit((million[:50_000], noisy[:50_000]), epochs=2, batch_size=256, verbose=False, hooks=[path])
batches = {"batches": 5, "batch_size": 10_000, "points": 101}
show(tw.surface.random_line(learner, (million, noisy), scale=2.0, **batches).plot(), "network-scale-2")

# %% [markdown]
# The same direction at a hundredth of the scale: a zoom into the middle. The batches differ by more than the line
# bends.

# %%
show(tw.surface.random_line(learner, (million, noisy), scale=0.01, **batches).plot(), "network-scale-0.01")

# %% [markdown]
# ## Where it is not convex
#
# A random line hardly ever shows it: in many dimensions nearly every direction is a mixture that curves upward. The
# eigenvector of the Hessian's most negative eigenvalue leads there.

# %%
shown = million[:10_000], noisy[:10_000]
random_lines = [tw.surface.random_line(learner, shown, scale=0.5, seed=s).nonconvexity() for s in range(10)]
show(f"ten random lines rise above their convex hull by at most {max(random_lines):.2g}")

# %%
curved = tw.surface.curvature(learner, shown, largest=5, smallest=1, tol=1e-3)
show(curved)
show(curved.plot(), "spectrum")

# %%
bent = tw.surface.line(learner, shown, direction=curved.vectors[-1], alphas=np.linspace(-0.5, 0.5, 101))
show(bent.plot(), "most-negative-direction")
show(f"smallest eigenvalue {curved.smallest[0]:.3g}; above its convex hull by {bent.nonconvexity():.3g}")

# %% [markdown]
# ## Planes
#
# Two random filter-normalised directions around the trained weights, computed where interpolation errs; the plane of
# the largest and the smallest curvature; and the path of the training in its first two principal components.

# %%
show(tw.surface.plane(learner, shown, points=51, adaptive=True).plot(), "plane")

# %%
show(tw.surface.plane(learner, shown, None, "top", "bottom", scale=0.3, points=31).plot(), "plane-of-curvature")

# %%
way = tw.surface.trajectory(learner, shown, path, points=31)
show(way.plot(), "path")
show(way)

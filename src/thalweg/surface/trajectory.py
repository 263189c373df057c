r"""The path of a training in the plane of its first two principal components."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..checkpoint import load, unflatten
from .cut import Cut
from .landscape import Trained, landscape
from .plane import Plane, computed_plane
from .recorder import PathRecorder
from .settings import coordinates_of
from .weights import Weights, flat, unflat, weights_of

__all__ = ["principal_plane", "trajectory"]

Array = NDArray[np.float64]


def trajectory(
    of: Trained,
    data: Any,
    run: PathRecorder | Path | str | Sequence[Any],
    *,
    points: int | tuple[int, int] = 25,
    margin: float = 0.25,
    adaptive: bool | float = False,
    batch_norm: str = "frozen",
    resume: Path | str | None = None,
    progress: bool = True,
) -> Plane:
    r"""Return the loss over the plane in which a training moved most, with its path.

    With the path's points :math:`\theta_0 \dots \theta_T` and the last one as centre, the directions are the first two
    principal components of :math:`\theta_t - \theta_T` (uncentred, so that the end lies in the plane); the coordinates
    are lengths in parameter space. What the path does outside of the plane is not seen: ``shares`` says how much of its
    variance lies inside.

    Args:
        of: a learner, or anything with ``module``, ``loss``, ``penalty`` and ``device``.
        data: ``(X, y)`` or whatever training takes.
        run: the path: a run directory with checkpoints, a :class:`PathRecorder` that was a hook of the training, or a
            sequence of points (dicts of tensors, flat tensors, modules, paths of checkpoints).
        points: of each axis, or two numbers.
        margin: how far the plane goes on beyond the path, as a share of its extent.
        adaptive, batch_norm, resume, progress: as in :func:`thalweg.surface.plane`.

    Raises:
        ValueError: no points or a single one, points of another model, or a path that does not move.

    Source: Li, Xu, Taylor, Studer & Goldstein, *Visualizing the Loss Landscape of Neural Nets*, NeurIPS 2018, section
    7.

    >>> import torch, thalweg as tw
    >>> learner = tw.compile(torch.nn.Linear(2, 1, bias=False), optimizer="sgd", lr=0.1, loss="mse")
    >>> path = [torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0])]
    >>> found = tw.surface.trajectory(learner, (torch.eye(2), torch.zeros(2, 1)), path, points=3)
    >>> found.shares.round(3)
    array([0.873, 0.127])
    """
    who = "surface.trajectory"
    land = landscape(who, of, data)
    steps, path = _path(who, run, land.params)
    if len(path) < 2:
        raise ValueError(
            f"{who}: the trajectory has {len(path)} point{'' if len(path) == 1 else 's'}, a path needs two or more; "
            "keep more checkpoints (fit(..., keep=50)), or pass a tw.surface.PathRecorder as a hook."
        )
    for step, weights in zip(steps, path, strict=True):
        if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
            raise ValueError(
                f"{who}: the trajectory's point at {step} holds weights that are NaN or infinite, which lie in no "
                "plane; pass the points before."
            )
    center = path[-1]
    d1, d2, coordinates, shares = principal_plane(who, path)
    counts = (points, points) if isinstance(points, int) else tuple(points)
    grid = []
    for axis in range(2):
        low, high = float(coordinates[:, axis].min()), float(coordinates[:, axis].max())
        # A path that hardly moves along the second direction still gets a plane to be seen in.
        extent = max(high - low, 0.2 * float(np.ptp(coordinates[:, 0])))
        middle = 0.5 * (low + high)
        reach = (0.5 + margin) * extent
        grid.append(coordinates_of(who, "points", counts[axis], None, middle - reach, middle + reach))
    buffers = land.buffers
    found = computed_plane(
        who,
        land,
        Cut(center, (d1, d2), buffers),
        (grid[0], grid[1]),
        title="the path of training",
        labels=(f"first component ({shares[0]:.1%} of variance)", f"second component ({shares[1]:.1%})"),
        adaptive=adaptive,
        batch_norm=batch_norm,
        resume=resume,
        progress=progress,
        path=coordinates,
        path_steps=np.asarray(steps, dtype=np.float64),
        shares=shares,
    )
    return replace(found, path_values=_on_surface(found, coordinates))


def principal_plane(who: str, path: Sequence[Weights]) -> tuple[Weights, Weights, Array, Array]:
    r"""Return (d₁, d₂, coordinates **(p, 2)**, shares of variance **(2,)**) of a path's principal plane.

    The components come from the Gram matrix :math:`G = A A^\top` of the p differences to the last point, so that
    nothing larger than p × p is decomposed.

    Raises:
        ValueError: all points are the same.
    """
    center = path[-1]
    rows = torch.stack([flat({name: w[name].double() - center[name].double() for name in center}) for w in path])
    gram = (rows @ rows.T).cpu()
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    if not float(values[0]) > 0:
        raise ValueError(
            f"{who}: all {len(path)} points of the trajectory are the same, so that there is no path to see."
        )
    axes = [_unit(vectors[:, i].to(rows) @ rows) for i in range(min(2, len(path) - 1))]
    if len(axes) < 2 or float(values[1]) <= 1e-14 * float(values[0]):
        drawn = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(rows)
        axes = [axes[0], _unit(drawn - (drawn @ axes[0]) * axes[0])]  # a straight path: any other direction will do
    coordinates = torch.stack([rows @ axis for axis in axes], dim=1).cpu().numpy()
    share = (coordinates**2).sum(axis=0) / float(torch.diagonal(gram).sum())
    d1, d2 = (unflat(who, "direction", axis, center) for axis in axes)
    return d1, d2, coordinates, share


def _unit(vector: Tensor) -> Tensor:
    unit: Tensor = vector / torch.linalg.vector_norm(vector)
    return unit


def _path(who: str, run: Any, like: Weights) -> tuple[list[int], list[Weights]]:
    """Return (steps, points) of a path in any of its forms."""
    if isinstance(run, PathRecorder):
        return run.steps, [weights_of(who, f"point {i}", w, like)[0] for i, w in enumerate(run.points)]
    if isinstance(run, (str, Path)):
        return _checkpoints(who, Path(run), like)
    points = list(run)
    return list(range(len(points))), [weights_of(who, f"point {i}", p, like)[0] for i, p in enumerate(points)]


def _checkpoints(who: str, run: Path, like: Weights) -> tuple[list[int], list[Weights]]:
    """Read every complete checkpoint of a run directory, in the order of their steps."""
    folders = [
        (int(match[1]), entry)
        for entry in (run / "checkpoints").glob("step-*")
        if (match := re.fullmatch(r"step-(\d+)", entry.name)) and (entry / "state.json").is_file()
    ]
    if not folders:
        raise ValueError(
            f"{who}: {run} holds no checkpoints; give the directory of a run (fit(..., run_dir=...)) that kept some, "
            "or a tw.surface.PathRecorder."
        )
    steps, found = [], []
    for step, folder in sorted(folders):
        tree = unflatten(*load(folder))
        steps.append(step)
        found.append(weights_of(who, f"checkpoint {folder.name}", tree["model"], like)[0])
    return steps, found


def _on_surface(plane: Plane, coordinates: Array) -> Array:
    """Return the plane's own height under each point of the path, by linear interpolation."""
    i = np.clip(np.searchsorted(plane.alphas, coordinates[:, 0]) - 1, 0, max(0, len(plane.alphas) - 2))
    j = np.clip(np.searchsorted(plane.betas, coordinates[:, 1]) - 1, 0, max(0, len(plane.betas) - 2))
    if len(plane.alphas) < 2 or len(plane.betas) < 2:
        return np.asarray(plane.values[i, j])
    s = (coordinates[:, 0] - plane.alphas[i]) / (plane.alphas[i + 1] - plane.alphas[i])
    t = (coordinates[:, 1] - plane.betas[j]) / (plane.betas[j + 1] - plane.betas[j])
    v = plane.values
    low = (1 - t) * v[i, j] + t * v[i, j + 1]
    high = (1 - t) * v[i + 1, j] + t * v[i + 1, j + 1]
    found: Array = (1 - s) * low + s * high
    return found

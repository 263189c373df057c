"""``thalweg surface``: the loss around a run's weights, added to its report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg import Learner, recipe, report
from thalweg import surface as surfaces

__all__ = ["surface"]

_UNFINISHED = ".surface-unfinished-"


def surface(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run directory.", show_default=False)],
    points: Annotated[int, typer.Option("--points", help="Points along each axis.")] = 51,
    scale: Annotated[float, typer.Option("--scale", help="How far α and β reach.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the random directions.")] = 0,
    full: Annotated[
        bool, typer.Option("--full", help="Compute every point, not only where interpolation errs.")
    ] = False,
    eigenvalues: Annotated[
        int, typer.Option("--eigenvalues", help="Also find so many of the Hessian's largest and smallest eigenvalues.")
    ] = 0,
) -> int:
    """Draw the loss around a run's weights into its report.

    The plane is spanned by two random filter-normalised directions, over the validation data. The path needs two or
    more checkpoints. What Ctrl-C breaks off goes on from there with the same command.
    """
    if not (run / "recipe.toml").is_file():
        raise ValueError(
            f"surface: {run} holds no recipe.toml, so that it is no run of `thalweg run`; of other models draw with "
            "tw.surface.plane(learner, data)."
        )
    learner, data = recipe.load(str(run / "recipe.toml")).build()
    weights = run / "model.safetensors"
    learner.load(weights if weights.is_file() else run)
    shown = data.valid if data.valid is not None else data.train
    try:
        _draw(run, learner, shown, points, scale, seed, full, eigenvalues)
    except KeyboardInterrupt:
        print("surface: broken off; the same command goes on from what is done.", file=sys.stderr)
        raise
    print(report.build(run))
    return 0


def _draw(
    run: Path, learner: Learner, shown: Any, points: int, scale: float, seed: int, full: bool, eigenvalues: int
) -> None:
    """Write the figures; keep what is done of a plane beside them until it is finished."""
    adaptive, figures = not full, run / "figures"
    settings = f"{points}-{scale:g}-{seed}-{'full' if full else 'adaptive'}"
    kept = figures / f"{_UNFINISHED}plane-{settings}.npz"
    found = surfaces.plane(learner, shown, points=points, scale=scale, seed=seed, adaptive=adaptive, resume=kept)
    found.write(run)
    found.save(figures / "surface-plane.npz")
    print(found)
    if len(list((run / "checkpoints").glob("step-*"))) > 1:
        kept = figures / f"{_UNFINISHED}path-{settings}.npz"
        path = surfaces.trajectory(learner, shown, run, points=points, adaptive=adaptive, resume=kept)
        path.write(run, "surface-path")
        path.save(figures / "surface-path.npz")
        print(path)
    if eigenvalues:
        curved = surfaces.curvature(learner, shown, largest=eigenvalues, smallest=eigenvalues)
        curved.write(run)
        curved.save(figures / "surface-curvature.npz")
        print(curved)
    for left in figures.glob(f"{_UNFINISHED}*"):  # of other settings, broken off and not wanted any more
        left.unlink()

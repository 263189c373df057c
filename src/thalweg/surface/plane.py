r"""The loss over a plane, and the function that draws one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..draw import contour, html_table, plane_and_surface, spans_decades, surface3d
from ..errors import check_number, unknown_name
from .cut import Cut
from .evaluate import evaluate
from .facts import Facts
from .interactive import plane_figure
from .landscape import Landscape, Trained, landscape
from .levels import Levels
from .named_directions import two_directions
from .refine import refined
from .settings import batch_statistics, coordinates_of, partial_of, statistics_said
from .storing import read_arrays, write_arrays, write_figure
from .weights import weights_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plane", "computed_plane", "plane", "spanned"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """The loss over a plane through parameter space.

    Attributes:
        alphas: coordinates along the first direction, **(n,)**.
        betas: along the second, **(m,)**.
        values: losses, **(n, m)**: ``values[i, j]`` belongs to ``alphas[i], betas[j]``.
        computed: **(n, m)**, whether the point was computed (all, unless the plane is adaptive).
        title: what it is.
        labels: what the two directions are.
        facts: how the values were computed.
        path: coordinates of a training path, **(p, 2)**, or None.
        path_values: the losses on it as the plane has them, **(p,)**, or None.
        path_steps: the steps of its points, **(p,)**, or None.
        shares: the share of the path's variance that each direction carries, **(2,)**, or None.
        tolerance: what an adaptive plane was refined to, or None.
    """

    alphas: Array
    betas: Array
    values: Array
    computed: NDArray[np.bool_]
    title: str
    labels: tuple[str, str]
    facts: Facts
    path: Array | None = None
    path_values: Array | None = None
    path_steps: Array | None = None
    shares: Array | None = None
    tolerance: float | None = None

    def __repr__(self) -> str:
        finite = self.values[np.isfinite(self.values)]
        spread = f"loss {finite.min():.4g} to {finite.max():.4g}" if finite.size else "no finite loss"
        return f"Plane({self.title}: {len(self.alphas)} × {len(self.betas)}, {spread}; {self.note()})"

    def note(self) -> str:
        """Return a sentence on how the plane was computed."""
        said = self.facts.sentence()
        if self.tolerance is not None:
            said += f"; {self.computed.mean():.0%} of the grid computed, the rest interpolated"
        if self.shares is not None:
            said += f"; the two directions carry {self.shares[0]:.1%} and {self.shares[1]:.1%} of the path's variance"
        return said

    def _log(self, log: bool | None) -> bool:
        return spans_decades(self.values.reshape(-1)) if log is None else log

    def plot(self, kind: str = "both", *, log: bool | None = None) -> Figure:
        """Return a figure of the plane.

        Args:
            kind: ``"both"``, ``"contour"`` or ``"3d"``.
            log: whether levels and heights are logarithmic; None: where the losses are positive and span more than a
                factor of 100.

        Raises:
            ValueError: an unknown kind.
        """
        known = {"both": plane_and_surface, "contour": contour, "3d": surface3d}
        if kind not in known:
            raise unknown_name("Plane.plot", "kind", kind, known)
        picture: Figure = known[kind](
            self.alphas,
            self.betas,
            self.values,
            path=self.path,
            path_values=self.path_values,
            title=self.title,
            labels=self.labels,
            log=self._log(log),
            note=self.note(),
        )
        return picture

    def figure(self, *, log: bool | None = None) -> dict[str, Any]:
        """Return the interactive 3-D figure as plotly's JSON, for ``figures/NAME.json`` of a run directory."""
        return plane_figure(
            self.alphas,
            self.betas,
            self.values,
            self.title,
            self.labels,
            self.note(),
            self.path,
            self.path_values,
            self._log(log),
        )

    def write(self, run: Path | str, name: str = "surface-plane") -> Path:
        """Add the 3-D figure to a run's report (made anew by ``thalweg report``); return the file's path."""
        return write_figure(run, name, self.figure())

    def save(self, path: Path | str) -> Path:
        """Write everything to a file; return its path.

        ``.npz`` without pickle, or a Parquet table with a row per point where the name ends in ``.parquet``.
        """
        return write_arrays(path, "Plane", *self.parts(), ("alphas", "betas"))

    @classmethod
    def load(cls, path: Path | str) -> Plane:
        """Return what :meth:`save` wrote.

        Raises:
            ValueError: the file is not one of these.
        """
        return cls.of_parts(*read_arrays(path, "Plane"))

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a file holds: arrays by name, and plain data."""
        names = ("alphas", "betas", "values", "computed", "path", "path_values", "path_steps", "shares")
        plain = {
            "title": self.title,
            "labels": list(self.labels),
            "facts": asdict(self.facts),
            "tolerance": self.tolerance,
        }
        return {name: getattr(self, name) for name in names}, plain

    @classmethod
    def of_parts(cls, arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> Plane:
        """Return the plane that :meth:`parts` was taken of."""
        known = {"labels": tuple(plain["labels"]), "facts": Facts(**plain["facts"])}
        fields: dict[str, Any] = {**arrays, **plain, **known}
        return cls(**fields)

    def _repr_html_(self) -> str:
        import base64

        values = self.values[np.isfinite(self.values)]
        rows: list[list[object]] = [["grid", f"{len(self.alphas)} × {len(self.betas)}"]]
        if values.size:
            rows.append(["loss", f"{values.min():.4g} to {values.max():.4g}"])
        if self.shares is not None:
            rows.append(["variance of the path", f"{self.shares[0]:.1%} and {self.shares[1]:.1%}"])
        picture: Any = self.plot()
        shown = base64.b64encode(picture._repr_png_()[0]).decode()
        table = html_table([*rows, *self.facts.table()], [self.title, ""])
        return f'<img alt="{self.title}" style="max-width:100%" src="data:image/png;base64,{shown}">{table}'


def plane(
    of: Trained,
    data: Any,
    center: Any = None,
    d1: Any = "random",
    d2: Any = None,
    *,
    scale: float | Sequence[float] = 1.0,
    points: int | tuple[int, int] = 25,
    alphas: ArrayLike | None = None,
    betas: ArrayLike | None = None,
    normalize: str = "filter",
    orthogonal: bool = False,
    adaptive: bool | float = False,
    batch_norm: str = "frozen",
    seed: int = 0,
    resume: Path | str | None = None,
    progress: bool = True,
) -> Plane:
    r"""Return the loss over the plane that two directions span.

    .. math:: E(\theta_0 + \alpha d_1 + \beta d_2)

    Every point is computed from the centre by its own coordinates. The defaults draw two random directions,
    filter-normalised, around the present weights.

    Args:
        of: a learner, or anything with ``module``, ``loss``, ``penalty`` and ``device``.
        data: ``(X, y)`` or whatever training takes.
        center: the point of α = β = 0; None: the present weights. A module, a learner, a dict of tensors, a flat
            tensor, or the path of a run, a checkpoint or a ``.safetensors`` file.
        d1, d2: ``"random"``; ``"top"`` or ``"bottom"`` (eigenvector of the Hessian's largest or smallest eigenvalue;
            ``"top2"`` the second largest); ``"gradient"``; a dict of tensors or a flat tensor. *d2* None: random,
            or ``"top2"`` beside ``"top"``.
        scale: α and β run from −scale to scale; two numbers for two ranges.
        points: of each axis, or two numbers.
        alphas, betas: the coordinates themselves, **(n,)** and **(m,)**.
        normalize: of all but given directions: ``"filter"`` (Li et al. 2018), ``"layer"``, ``"unit"``, ``"none"``.
        orthogonal: whether the second direction is made orthogonal to the first.
        adaptive: compute only where interpolation errs, to a relative L2 error of the values of 0.02 (True) or of the
            number given; the rest is interpolated, and ``computed`` says which.
        batch_norm: batch statistics ``"frozen"``, or ``"reestimated"`` at every point.
        seed: of random directions.
        resume: a file that is kept while the plane is computed, so that an interrupted one goes on.
        progress: whether a bar is shown where it takes more than a second.

    Raises:
        ValueError: weights of another architecture, directions of another shape, of length zero or parallel, settings
            or data that cannot work.

    Source: Li, Xu, Taylor, Studer & Goldstein, *Visualizing the Loss Landscape of Neural Nets*, NeurIPS 2018.

    >>> import torch, thalweg as tw
    >>> learner = tw.compile(torch.nn.Linear(2, 1, bias=False), optimizer="sgd", lr=0.1, loss="mse")
    >>> X = torch.eye(2)
    >>> e1, e2 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> tw.surface.plane(learner, (X, torch.zeros(2, 1)), torch.zeros(2), e1, e2, points=3).values
    array([[1. , 0.5, 1. ],
           [0.5, 0. , 0.5],
           [1. , 0.5, 1. ]])
    """
    who = "surface.plane"
    land, cut, labels, grid = spanned(
        who, of, data, center, d1, d2, scale=scale, points=points, alphas=alphas, betas=betas, normalize=normalize,
        orthogonal=orthogonal, seed=seed,
    )  # fmt: skip
    return computed_plane(
        who,
        land,
        cut,
        grid,
        title="loss over a plane",
        labels=labels,
        adaptive=adaptive,
        batch_norm=batch_norm,
        resume=resume,
        progress=progress,
    )


def spanned(
    who: str,
    of: Trained,
    data: Any,
    center: Any,
    d1: Any,
    d2: Any,
    *,
    scale: float | Sequence[float] = 1.0,
    points: int | tuple[int, int] = 25,
    alphas: ArrayLike | None = None,
    betas: ArrayLike | None = None,
    normalize: str = "filter",
    orthogonal: bool = False,
    seed: int = 0,
) -> tuple[Landscape, Cut, tuple[str, str], tuple[Array, Array]]:
    """Return the landscape, the plane in it, what its directions are, and its grid; arguments as :func:`plane`."""
    land = landscape(who, of, data)
    middle, held = (land.params, {}) if center is None else weights_of(who, "center", center, land.params)
    buffers = {
        **land.buffers,
        **{name: value.to(land.buffers[name]) for name, value in held.items() if name in land.buffers},
    }
    directions, labels = two_directions(
        who, land, middle, buffers, d1, d2, normalize=normalize, seed=seed, orthogonal=orthogonal
    )
    scales = tuple(scale) if isinstance(scale, Sequence) else (scale, scale)
    counts = (points, points) if isinstance(points, int) else tuple(points)
    if len(scales) != 2 or len(counts) != 2:
        raise ValueError(
            f"{who}: scale={scale!r} and points={points!r} are one number, or two: one for each direction."
        )
    grid = (
        coordinates_of(who, "alphas", counts[0], alphas, -1.0, 1.0, scales[0]),
        coordinates_of(who, "betas", counts[1], betas, -1.0, 1.0, scales[1]),
    )
    return land, Cut(middle, directions, buffers), labels, grid


def computed_plane(
    who: str,
    land: Landscape,
    cut: Cut,
    grid: tuple[Array, Array],
    *,
    title: str,
    labels: tuple[str, str],
    adaptive: bool | float = False,
    batch_norm: str = "frozen",
    resume: Path | str | None = None,
    progress: bool = True,
    **more: Any,
) -> Plane:
    """Return the plane of *cut* over *grid*, (alphas, betas); *more* are further fields of :class:`Plane`."""
    statistics = batch_statistics(who, land, batch_norm)
    alphas, betas = grid
    mesh = np.stack([axis.ravel() for axis in np.meshgrid(alphas, betas, indexing="ij")], axis=1)
    if adaptive is not False:
        tolerance = 0.02 if adaptive is True else float(adaptive)
        check_number(who, "adaptive", tolerance, low=0.0, low_open=True, high=1.0, high_open=True)
        levels = Levels(who, land, cut, statistics, progress, resume, (mesh, tolerance))
        with levels.finished():
            values, computed = refined(levels.compute, alphas, betas, tolerance)
        assert levels.run is not None, "the coarsest level was computed"
        found = levels.run
        more["tolerance"] = tolerance
    else:
        with partial_of(resume, land, cut, mesh, None, statistics) as partial:
            found = evaluate(who, land, cut, mesh, batch_norm=statistics, partial=partial, progress=progress)
        values = found.values.reshape(len(alphas), len(betas))
        computed = np.ones(values.shape, dtype=bool)
    facts = Facts(
        found.way,
        found.reason,
        found.rows,
        int(computed.sum()),
        found.points_at_once,
        found.seconds,
        statistics_said(statistics, cut),
        land.size,
    )
    return Plane(alphas, betas, values, computed, title, labels, facts, **more)

r"""A surface cut by an upright plane: the surface in three dimensions, and the profile of the cut in two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..draw import section as section_figure
from ..draw import spans_decades
from .evaluate import evaluate
from .facts import Facts
from .landscape import Trained
from .line import Line
from .plane import Plane, computed_plane, spanned
from .settings import batch_statistics, coordinates_of, statistics_said
from .storing import read_arrays, write_arrays, write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Section", "section"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Section:
    """A surface and the profile where an upright plane cuts it.

    Attributes:
        plane: the surface.
        profile: the loss along the cut; its ``alphas`` are shares of the way from *start* to *end*.
        start, end: (α, β) where the cut begins and ends.
    """

    plane: Plane
    profile: Line
    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def coordinates(self) -> Array:
        """The points of the cut in the plane, **(n, 2)**."""
        return _between(self.start, self.end, self.profile.alphas)

    def __repr__(self) -> str:
        return f"Section(from {self.start} to {self.end}: {self.profile!r})"

    def plot(self, *, log: bool | None = None) -> Figure:
        """Return a figure: the surface with the cutting plane and the cut on the left, the profile on the right.

        Args:
            log: whether heights are logarithmic; None: where the losses are positive and span more than a factor of
                100.
        """
        plane = self.plane
        picture: Figure = section_figure(
            plane.alphas,
            plane.betas,
            plane.values,
            self.coordinates,
            self.profile.values,
            along=self.profile.alphas,
            title=self.profile.title,
            xlabel=self.profile.xlabel,
            labels=plane.labels,
            log=spans_decades(plane.values.reshape(-1)) if log is None else log,
            note=plane.note(),
        )
        return picture

    def figure(self, *, log: bool | None = None) -> dict[str, Any]:
        """Return the surface with the cut on it as plotly's JSON, for ``figures/NAME.json`` of a run directory."""
        return replace(self.plane, path=self.coordinates, path_values=self.profile.values).figure(log=log)

    def write(self, run: Path | str, name: str = "surface-section") -> Path:
        """Add surface and profile to a run's report (made anew by ``thalweg report``); return the first's path."""
        self.profile.write(run, f"{name}-profile")
        return write_figure(run, name, self.figure())

    def save(self, path: Path | str) -> Path:
        """Write everything to a file; return its path.

        ``.npz`` without pickle, or a Parquet table with a row per point of the plane where the name ends in
        ``.parquet``.
        """
        arrays, plain = self.plane.parts()
        line = self.profile
        own = {"profile": line.values, "along": line.alphas, "ends": np.asarray([self.start, self.end])}
        said = {"title": line.title, "xlabel": line.xlabel, "facts": asdict(line.facts)}
        return write_arrays(path, "Section", {**arrays, **own}, {"plane": plain, "line": said}, ("alphas", "betas"))

    @classmethod
    def load(cls, path: Path | str) -> Section:
        """Return what :meth:`save` wrote.

        Raises:
            ValueError: the file is not one of these.
        """
        arrays, plain = read_arrays(path, "Section")
        values, along, ends = (arrays.pop(name) for name in ("profile", "along", "ends"))
        said = plain["line"]
        profile = Line(along, values, said["title"], said["xlabel"], Facts(**said["facts"]))
        first, last = (tuple(map(float, end)) for end in ends)
        return cls(Plane.of_parts(arrays, plain["plane"]), profile, (first[0], first[1]), (last[0], last[1]))


def section(
    of: Trained,
    data: Any,
    center: Any = None,
    d1: Any = "random",
    d2: Any = None,
    *,
    start: Sequence[float] = (-1.0, -1.0),
    end: Sequence[float] = (1.0, 1.0),
    along: int = 101,
    adaptive: bool | float = False,
    batch_norm: str = "frozen",
    resume: Path | str | None = None,
    progress: bool = True,
    **settings: Any,
) -> Section:
    r"""Return the loss over a plane, cut upright from one of its points to another, and the profile of the cut.

    .. math:: p(t) = E\bigl(\theta_0 + \alpha(t) d_1 + \beta(t) d_2\bigr), \qquad
        (\alpha, \beta)(t) = (1 - t)\,\text{start} + t\,\text{end}, \quad t \in [0, 1]

    The profile is computed point by point as the plane is, not read off it.

    Args:
        of, data, center, d1, d2, adaptive, batch_norm, resume, progress: as in :func:`plane`.
        start, end: (α, β) of the first and of the last point of the cut; they may lie outside of the grid.
        along: points of the profile, >= 2.
        settings: further arguments of :func:`plane`: scale, points, alphas, betas, normalize, orthogonal, seed.

    Raises:
        ValueError: start and end are no two different points, fewer than two points along; or what :func:`plane`
            raises.
        TypeError: a setting that :func:`plane` does not have.

    >>> import torch, thalweg as tw
    >>> learner = tw.compile(torch.nn.Linear(2, 1, bias=False), optimizer="sgd", lr=0.1, loss="mse")
    >>> X, e1, e2 = torch.eye(2), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> cut = tw.surface.section(
    ...     learner, (X, torch.zeros(2, 1)), torch.zeros(2), e1, e2, start=(-1, 1), end=(1, -1), along=5, points=3
    ... )
    >>> cut.profile.values
    array([1.  , 0.25, 0.  , 0.25, 1.  ])
    """
    who = "surface.section"
    first, last = _point(who, "start", start), _point(who, "end", end)
    if first == last:
        raise ValueError(f"{who}: start and end are the same point {first}; give two different ones.")
    if along == 1:
        raise ValueError(f"{who}: along=1 is one point, and a profile needs its two ends; choose 2 or more.")
    shares = coordinates_of(who, "along", along, None, 0.0, 1.0)
    land, cut, labels, grid = spanned(who, of, data, center, d1, d2, **settings)
    statistics = batch_statistics(who, land, batch_norm)
    points = _between(first, last, shares)
    found = evaluate(who, land, cut, points, batch_norm=statistics, progress=progress)
    facts = Facts(
        found.way, found.reason, found.rows, len(points), found.points_at_once, found.seconds,
        statistics_said(statistics, cut), land.size,
    )  # fmt: skip
    surface = computed_plane(
        who, land, cut, grid, title="loss over a plane", labels=labels, adaptive=adaptive, batch_norm=batch_norm,
        resume=resume, progress=progress,
    )  # fmt: skip
    title = f"the cut from ({first[0]:g}, {first[1]:g}) to ({last[0]:g}, {last[1]:g})"
    return Section(surface, Line(shares, found.values, title, "share of the way", facts), first, last)


def _point(who: str, name: str, given: Any) -> tuple[float, float]:
    try:
        first, second = (float(value) for value in given)
    except (TypeError, ValueError):
        first = math.nan
        second = math.nan
    if not (math.isfinite(first) and math.isfinite(second)):
        raise ValueError(f"{who}: {name}={given!r} must be two finite numbers, the α and β of a point of the plane.")
    return first, second


def _between(start: tuple[float, float], end: tuple[float, float], shares: Array) -> Array:
    first, last = np.asarray(start), np.asarray(end)
    # Both ends exactly: (1 - t) a + t b, which is a at 0 and b at 1.
    points: Array = (1 - shares[:, None]) * first + shares[:, None] * last
    return points

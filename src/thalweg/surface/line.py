r"""The loss along a line, and the functions that draw one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..draw import html_table, lines
from .cut import Cut
from .direction import check_direction, given_direction, normalised, random_direction
from .evaluate import evaluate
from .facts import Facts
from .interactive import line_figure
from .landscape import Landscape, Trained, landscape
from .settings import batch_statistics, check_batches, coordinates_of, partial_of, statistics_said
from .storing import read_arrays, write_arrays, write_figure
from .weights import Weights, weights_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Line", "interpolation", "line", "random_line"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """The loss along a line.

    Attributes:
        alphas: coordinates, **(n,)**.
        values: losses, **(n,)**, or **(batches, n)** where batches are kept apart.
        title: what it is.
        xlabel: what α is.
        facts: how the values were computed.
    """

    alphas: Array
    values: Array
    title: str
    xlabel: str
    facts: Facts

    def __repr__(self) -> str:
        finite = self.values[np.isfinite(self.values)]
        spread = f"loss {finite.min():.4g} to {finite.max():.4g}" if finite.size else "no finite loss"
        return f"Line({self.title}: α {self.alphas[0]:g} to {self.alphas[-1]:g}, {spread}; {self.facts.sentence()})"

    def nonconvexity(self) -> float:
        r"""Return the largest height of the loss above its convex hull along the line; 0 for a convex loss.

        .. math:: \max_\alpha \, f(\alpha) - \operatorname{conv} f(\alpha)

        over the points computed, in units of the loss; over all batches, the largest. Points that are not finite are
        left out.
        """
        return max(_above_hull(self.alphas, curve) for curve in np.atleast_2d(self.values))

    def plot(self, *, log: bool | None = None) -> Figure:
        """Return a figure of the loss along the line, every batch as a curve of its own.

        Args:
            log: whether the loss axis is logarithmic; None decides by the values.
        """
        return lines(
            self.alphas, self.values, title=self.title, xlabel=self.xlabel, log=log, note=self.facts.sentence()
        )

    def figure(self) -> dict[str, Any]:
        """Return the figure as plotly's JSON, for ``figures/NAME.json`` of a run directory."""
        return line_figure(self.alphas, self.values, self.title, self.xlabel, self.facts.sentence())

    def write(self, run: Path | str, name: str = "surface-line") -> Path:
        """Add the figure to a run's report (made anew by ``thalweg report``); return the file's path."""
        return write_figure(run, name, self.figure())

    def save(self, path: Path | str) -> Path:
        """Write everything to a file; return its path.

        ``.npz`` without pickle, or a Parquet table with a row per point where the name ends in ``.parquet``.
        """
        plain = {"title": self.title, "xlabel": self.xlabel, "facts": asdict(self.facts)}
        arrays, axes = {"alphas": self.alphas, "values": self.values}, ("alphas",)
        if self.values.ndim == 1:
            return write_arrays(path, "Line", arrays, plain, axes)
        return write_arrays(path, "Line", {**arrays, "batch": np.arange(len(self.values))}, plain, ("batch", *axes))

    @classmethod
    def load(cls, path: Path | str) -> Line:
        """Return what :meth:`save` wrote.

        Raises:
            ValueError: the file is not one of these.
        """
        arrays, plain = read_arrays(path, "Line")
        return cls(arrays["alphas"], arrays["values"], plain["title"], plain["xlabel"], Facts(**plain["facts"]))

    def _repr_html_(self) -> str:
        values = self.values[np.isfinite(self.values)]
        rows: list[list[object]] = [["along", f"α from {self.alphas[0]:g} to {self.alphas[-1]:g}"]]
        if values.size:
            rows.append(["loss", f"{values.min():.4g} to {values.max():.4g}"])
        return html_table([*rows, *self.facts.table()], [self.title, ""])


def line(
    of: Trained,
    data: Any,
    start: Any = None,
    end: Any = None,
    *,
    direction: Any = None,
    normalize: str = "none",
    points: int = 101,
    alphas: ArrayLike | None = None,
    batches: int | None = None,
    batch_size: int = 1024,
    batch_norm: str = "frozen",
    seed: int = 0,
    resume: Path | str | None = None,
    progress: bool = True,
) -> Line:
    r"""Return the loss along a line of parameter space.

    .. math:: E(\theta_0 + \alpha d), \qquad \alpha \in [0, 1] \text{ from start to end}

    Without *end* and *direction* it is a random filter-normalised direction through *start*,
    :math:`\alpha \in [-1, 1]`. Both ends are computed; every point is computed from the start, never walked to.

    Args:
        of: a learner, or anything with ``module``, ``loss``, ``penalty`` and ``device``.
        data: ``(X, y)`` or whatever training takes.
        start: the point of α = 0; None: the present weights. A module, a learner, a dict of tensors, a flat tensor, or
            the path of a run, a checkpoint or a ``.safetensors`` file.
        end: the point of α = 1.
        direction: instead of *end*: a dict of tensors or a flat tensor (then α runs from −1 to 1).
        normalize: what is done to *direction*: ``"filter"``, ``"layer"``, ``"unit"`` or ``"none"``.
        points: number of points, >= 1.
        alphas: the coordinates themselves, **(n,)**.
        batches: overlay so many batches, drawn by *seed*, instead of all rows together.
        batch_size: rows per batch.
        batch_norm: batch statistics ``"frozen"``, or ``"reestimated"`` at every point.
        seed: of the random direction and of the batches.
        resume: a file that is kept while the line is computed, so that an interrupted one goes on.
        progress: whether a bar is shown.

    Raises:
        ValueError: weights of another architecture, a direction of another shape or of length zero, settings or data
            that cannot work.

    >>> import torch, thalweg as tw
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> learner = tw.compile(model, optimizer="sgd", lr=0.1, loss="mse")
    >>> X = torch.tensor([[1.0], [2.0]])
    >>> tw.surface.line(learner, (X, 3 * X), torch.tensor([1.0]), torch.tensor([3.0]), points=3).values
    array([10. ,  2.5,  0. ])
    """
    who = "surface.line"
    land = _land(who, of, data, batches, batch_size, seed)
    center, center_buffers = (land.params, {}) if start is None else weights_of(who, "start", start, land.params)
    buffers = {**land.buffers, **_floating(center_buffers, land.buffers)}
    moved: Weights = {}
    if end is not None and direction is not None:
        raise ValueError(f"{who}: end and direction both say where the line leads; give one of them.")
    if end is not None:
        target, end_buffers = weights_of(who, "end", end, land.params)
        heading = {name: target[name] - center[name] for name in center}
        if not any(bool(d.any()) for d in heading.values()):
            raise ValueError(f"{who}: start and end are the same point; give two different ones.")
        end_held = {**land.buffers, **_floating(end_buffers, land.buffers)}
        moved = {name: end_held[name] - value for name, value in buffers.items() if _differs(end_held[name], value)}
        title, xlabel, low, high = "loss between two points", "α (0: start, 1: end)", 0.0, 1.0
    elif direction is not None:
        heading = normalised(who, given_direction(who, "direction", direction, land.params), center, normalize)
        title, xlabel, low, high = "loss along a direction", "α", -1.0, 1.0
    else:
        drawn = random_direction(land.params, seed, land.trains)
        heading = normalised(who, drawn, center, "filter" if normalize == "none" else normalize)
        title, xlabel, low, high = "loss along a random direction", "α", -1.0, 1.0
    check_direction(who, "the direction", heading)
    coordinates = coordinates_of(who, "alphas", points, alphas, low, high)
    cut = Cut(center, (heading,), buffers, (moved,) if moved else ())
    return _computed(who, land, cut, coordinates, title, xlabel, batches, batch_norm, resume, progress)


def random_line(
    of: Trained,
    data: Any,
    center: Any = None,
    scale: float = 1.0,
    *,
    normalize: str = "filter",
    points: int = 101,
    seed: int = 0,
    batches: int | None = None,
    batch_size: int = 1024,
    batch_norm: str = "frozen",
    resume: Path | str | None = None,
    progress: bool = True,
) -> Line:
    r"""Return the loss along a random line through *center*, symmetric about it.

    .. math:: E(\theta_0 + \alpha d), \qquad \alpha \in [-s, s]

    The same *seed* is the same direction at any *scale*, so that a small scale is a zoom of a large one.

    Args:
        of: a learner, or anything with ``module``, ``loss``, ``penalty`` and ``device``.
        data: ``(X, y)`` or whatever training takes.
        center: as *start* of :func:`line`; None: the present weights.
        scale: s > 0, in units of the direction's length.
        normalize: ``"filter"``, ``"layer"``, ``"unit"`` or ``"none"`` (standard normal numbers).
        points, seed, batches, batch_size, batch_norm, resume, progress: as in :func:`line`.

    Raises:
        ValueError: as :func:`line`.

    >>> import torch, thalweg as tw
    >>> learner = tw.compile(torch.nn.Linear(2, 1), optimizer="sgd", lr=0.1, loss="mse")
    >>> found = tw.surface.random_line(learner, (torch.ones(4, 2), torch.ones(4, 1)), scale=2.0, points=5)
    >>> found.alphas
    array([-2., -1.,  0.,  1.,  2.])
    """
    who = "surface.random_line"
    land = _land(who, of, data, batches, batch_size, seed)
    middle, held = (land.params, {}) if center is None else weights_of(who, "center", center, land.params)
    heading = normalised(who, random_direction(land.params, seed, land.trains), middle, normalize)
    check_direction(who, "the direction", heading)
    cut = Cut(middle, (heading,), {**land.buffers, **_floating(held, land.buffers)})
    coordinates = coordinates_of(who, "alphas", points, None, -1.0, 1.0, scale)
    title = f"loss along a random direction, scale {scale:g}"
    return _computed(who, land, cut, coordinates, title, "α", batches, batch_norm, resume, progress)


def interpolation(
    of: Trained, data: Any, a: Any, b: Any, *, margin: float = 0.5, points: int = 101, **settings: Any
) -> Line:
    r"""Return the loss on the straight line through two trained models.

    .. math:: E\bigl((1 - \alpha) a + \alpha b\bigr), \qquad \alpha \in [-m, 1 + m]

    Batch statistics go along, where *a* and *b* bring their own: at α = 0 and 1 the values are those of the two models.

    Args:
        of: a learner, or anything with ``module``, ``loss``, ``penalty`` and ``device``.
        data: ``(X, y)`` or whatever training takes.
        a, b: two points, as *start* of :func:`line`.
        margin: m >= 0, how far the line goes on beyond both.
        points: number of points.
        settings: further arguments of :func:`line`.

    Source: Goodfellow, Vinyals & Saxe, *Qualitatively characterizing neural network optimization problems*, ICLR 2015.

    >>> import torch, thalweg as tw
    >>> learner = tw.compile(torch.nn.Linear(1, 1, bias=False), optimizer="sgd", lr=0.1, loss="mse")
    >>> X = torch.tensor([[1.0], [2.0]])
    >>> tw.surface.interpolation(learner, (X, X), torch.tensor([0.0]), torch.tensor([2.0]), points=5).values.round(3)
    array([10. ,  2.5,  0. ,  2.5, 10. ])
    """
    if settings.get("alphas") is None:
        settings["alphas"] = coordinates_of("surface.interpolation", "alphas", points, None, -margin, 1.0 + margin)
    found = line(of, data, a, b, points=points, **settings)
    return replace(found, title="loss between two models", xlabel="α (0: the first, 1: the second)")


def _above_hull(x: Array, y: Array) -> float:
    """Return the largest distance of points above their lower convex hull (Andrew's monotone chain)."""
    kept = np.isfinite(y)
    x, y = x[kept], y[kept]
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) >= 2:
            a, b = hull[-2], hull[-1]
            if (y[b] - y[a]) * (x[i] - x[a]) < (y[i] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(i)
    return float((y - np.interp(x, x[hull], y[hull])).max()) if hull else 0.0


def _land(who: str, of: Trained, data: Any, batches: int | None, batch_size: int, seed: int) -> Landscape:
    check_batches(who, batches, batch_size)
    if batches is None:
        return landscape(who, of, data, batch_size=batch_size)
    return landscape(who, of, data, batch_size=batch_size, seed=seed)


def _floating(given: Weights, own: Weights) -> Weights:
    """Return the buffers of *given* that the model has, on its device."""
    return {name: value.detach().to(own[name]) for name, value in given.items() if name in own}


def _differs(a: Any, b: Any) -> bool:
    return bool(a.is_floating_point()) and bool((a != b).any())


def _computed(
    who: str,
    land: Landscape,
    cut: Cut,
    coordinates: Array,
    title: str,
    xlabel: str,
    batches: int | None,
    batch_norm: str,
    resume: Path | str | None,
    progress: bool,
) -> Line:
    statistics = batch_statistics(who, land, batch_norm)
    with partial_of(resume, land, cut, coordinates, batches, statistics) as partial:
        found = evaluate(
            who,
            land,
            cut,
            coordinates[:, None],
            batches=batches,
            batch_norm=statistics,
            partial=partial,
            progress=progress,
        )
    said = statistics_said(statistics, cut)
    facts = Facts(
        found.way, found.reason, found.rows, len(coordinates), found.points_at_once, found.seconds, said, land.size
    )
    return Line(coordinates, found.values, title, xlabel, facts)

"""Principal axes of factors, with the titles at their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from thalweg.draw import Table
from thalweg.errors import check_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Axes", "principal_axes"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Axes:
    """Items along the axes in which their factors differ most.

    Attributes:
        places: of the items on the axes, **(m, c)**.
        share: of the variance that each axis carries, **(c,)**.
        titles: of the items, m of them.
    """

    places: Array
    share: Array
    titles: Sequence[str]

    def ends(self, n: int = 5) -> Table:
        """Return the titles of the *n* items at both ends of each axis."""
        check_number("Axes.ends", "n", n, low=1, high=len(self.titles))
        rows: list[list[Any]] = []
        for axis in range(self.places.shape[1]):
            order = np.argsort(self.places[:, axis], kind="stable")
            low, high = order[:n], order[::-1][:n]
            for place, (one, other) in enumerate(zip(low, high, strict=True)):
                name = f"{axis + 1} ({self.share[axis]:.0%})" if not place else ""
                rows.append([name, self.titles[one], self.titles[other]])
        return Table(rows, ["axis", "one end", "the other end"])

    def __repr__(self) -> str:
        return str(self.ends(min(5, len(self.titles))))

    def _repr_html_(self) -> str:
        return self.ends(min(5, len(self.titles)))._repr_html_()

    def map(self, labels: int = 50) -> Figure:
        """Return a matplotlib figure of the first two axes; the first *labels* items carry their titles.

        Raises:
            ValueError: there is one axis only.
        """
        if self.places.shape[1] < 2:
            raise ValueError("Axes.map: there is one axis, and a map needs two; ask pca for two components.")
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 10), layout="constrained")
        plot = figure.add_subplot()
        x, y = self.places[:, 0], self.places[:, 1]
        plot.scatter(x, y, s=6, alpha=0.3)
        for k in range(min(labels, len(x))):
            plot.annotate(self.titles[k], (x[k], y[k]), fontsize=7)
        plot.set_xlabel(f"axis 1 ({self.share[0]:.0%} of the variance)")
        plot.set_ylabel(f"axis 2 ({self.share[1]:.0%})")
        return figure


def principal_axes(factors: Tensor, titles: Sequence[str], components: int) -> Axes:
    r"""Return the first principal components of the rows of *factors*.

    The sign of an axis is such that its largest entry is positive.

    Args:
        factors: **(m, K)**.
        titles: m of them.
        components: >= 1, at most min(m − 1, K).

    Raises:
        ValueError: more components than there are.

    >>> axes = principal_axes(torch.tensor([[0.0, 0.1], [1.0, -0.1], [5.0, 0.0]]), ["a", "b", "c"], 1)
    >>> axes.places.round(2).flatten().tolist(), round(float(axes.share[0]), 3)
    ([-2.0, -1.0, 3.0], 0.999)
    """
    most = min(len(factors) - 1, factors.shape[1])
    check_number(
        "principal_axes", "components", components, low=1, high=most, advice="the items and factors give no more"
    )
    centred = factors.double() - factors.double().mean(0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    places = left[:, :components] * values[:components]
    largest = places.gather(0, places.abs().argmax(0, keepdim=True))
    places = places * torch.where(largest < 0, -1.0, 1.0)
    energy = values.square()
    share = energy[:components] / energy.sum() if float(energy.sum()) else torch.zeros(components)
    return Axes(places.numpy(), share.numpy(), titles)

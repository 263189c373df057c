"""Reading a trained model: biases, factors, axes, neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.draw import Table
from thalweg.errors import check_number

from .axes import Axes, principal_axes
from .listing import Listed, Listing
from .ratings import Ratings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Reading"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model has learnt of the items.

    Args:
        module: trained, with tables of item factors and biases.
        ratings: the training part, for titles, counts and means.
    """

    module: nn.Module
    ratings: Ratings

    def _rows(self, items: Iterable[Any] | None, who: str) -> Tensor:
        ids = self.ratings.item_ids
        if items is None:
            return torch.arange(1, len(ids))
        return torch.tensor([ids.known_row(item, f"Recommender.reading.{who}") for item in items], dtype=torch.long)

    @torch.no_grad()
    def _vectors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return factors **(m, M·K)** and biases **(m, M)**, with what histories and features add to them."""
        device = next(self.module.parameters()).device
        look_up = getattr(self.module, "item_vectors", None)
        if look_up is not None:
            factors, bias = look_up(rows.to(device))
        else:
            factors = self.module.get_submodule("item_factors")(rows.to(device))
            bias = self.module.get_submodule("item_bias")(rows.to(device))
        return factors.cpu(), bias.cpu()

    def bias(self, items: Iterable[Any] | None = None) -> Array:
        """Return the items' biases, the mean over members, **(m,)**: how much an item is liked beyond its factors.

        Args:
            items: ids; None: all, in the order of ``ratings.item_ids.ids``.

        Raises:
            ValueError: an item that is not in the table.
        """
        found: Array = self._vectors(self._rows(items, "bias"))[1].mean(1).numpy()
        return found

    def factors(self, items: Iterable[Any] | None = None) -> Array:
        """Return the items' factors, **(m, M·K)**: those of each member beside each other.

        Args:
            items: ids; None: all, in the order of ``ratings.item_ids.ids``.

        Raises:
            ValueError: an item that is not in the table.
        """
        found: Array = self._vectors(self._rows(items, "factors"))[0].numpy()
        return found

    def counts(self) -> Tensor:
        """Return the ratings of each item, **(items,)**."""
        return torch.bincount(self.ratings.items, minlength=len(self.ratings.item_ids))[1:]

    def means(self) -> Tensor:
        """Return the mean rating of each item, **(items,)**; NaN where there is none."""
        values = self.ratings.values.double()
        sums = torch.zeros(len(self.ratings.item_ids), dtype=torch.float64).index_add_(0, self.ratings.items, values)
        return sums[1:] / self.counts()

    def liked_beyond_factors(self, n: int = 10, *, at_least: int = 1) -> Table:
        """Return the *n* items with the highest biases: liked even by those whose taste they do not meet."""
        return self._by_bias(n, at_least, True, "liked beyond their factors")

    def disliked_beyond_factors(self, n: int = 10, *, at_least: int = 1) -> Table:
        """Return the *n* items with the lowest biases: disliked even by those whose taste they should meet."""
        return self._by_bias(n, at_least, False, "disliked beyond their factors")

    def _by_bias(self, n: int, at_least: int, descending: bool, caption: str) -> Table:
        check_number("Recommender.reading", "n", n, low=1)
        bias, counts, means = torch.from_numpy(self.bias()), self.counts(), self.means()
        listed = torch.where(counts >= at_least)[0]
        order = listed[torch.argsort(bias[listed], descending=descending, stable=True)][:n]
        rows = []
        for place in order.tolist():
            title = self.ratings.title(self.ratings.item_ids.id_of(place + 1))
            rows.append([title, round(float(bias[place]), 3), round(float(means[place]), 2), int(counts[place])])
        return Table(rows, ["title", "bias", "mean rating", "ratings"], caption)

    def most_rated(self, n: int) -> Tensor:
        """Return the rows of the *n* items with the most ratings."""
        counts = self.counts()
        order = torch.argsort(counts, descending=True, stable=True)[:n]
        return order[counts[order] > 0] + 1

    def pca(self, components: int = 3, *, most_rated: int = 1000) -> Axes:
        """Return the principal axes of the factors of the most rated items, with their titles.

        Args:
            components: how many axes, >= 1.
            most_rated: how many items are looked at; the factors of rarely rated ones are mostly noise.
        """
        rows = self.most_rated(most_rated)
        titles = [self.ratings.title(self.ratings.item_ids.id_of(row)) for row in rows.tolist()]
        return principal_axes(self._vectors(rows)[0], titles, components)

    def map(self, *, labels: int = 50, most_rated: int = 1000) -> Figure:
        """Return a figure of the items in the plane of the first two axes, the most rated ones with their titles."""
        return self.pca(2, most_rated=most_rated).map(labels)

    def similar(self, item: Any, n: int = 10) -> Listing:
        """Return the *n* items nearest to *item* by the cosine of their factors."""
        check_number("Recommender.similar", "n", n, low=1)
        row = self.ratings.item_ids.known_row(item, "Recommender.similar")
        factors = self._vectors(torch.arange(len(self.ratings.item_ids)))[0]
        factors = torch.nn.functional.normalize(factors, dim=1)
        cosine = factors @ factors[row]
        cosine[[0, row]] = -torch.inf
        cosine[1:][self.counts() == 0] = -torch.inf  # of these the factors are the average's
        found = []
        for place in torch.argsort(cosine, descending=True, stable=True)[:n].tolist():
            if cosine[place] > -torch.inf:
                one = self.ratings.item_ids.id_of(place)
                found.append(Listed(one, self.ratings.title(one), float(cosine[place])))
        return Listing(found, "similarity")

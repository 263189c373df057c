"""Lists of items with a number each, that print as tables."""

from __future__ import annotations

from typing import Any, NamedTuple

from thalweg.draw import Table

__all__ = ["Listed", "Listing"]


class Listed(NamedTuple):
    """An item in a list: its id, its title (its id as text where there is none), and the number it stands by."""

    item: Any
    title: str
    value: float


class Listing(list[Listed]):
    """Items in an order; ``str`` and notebooks show a table.

    Args:
        rows: the items.
        value: what the number is: ``"rating"``, ``"similarity"``.

    >>> print(Listing([Listed(50, "Star Wars", 4.71)], "rating"))
    item  title      rating
    ────  ─────────  ──────
      50  Star Wars    4.71
    """

    def __init__(self, rows: list[Listed], value: str) -> None:
        super().__init__(rows)
        self.value = value

    @property
    def table(self) -> Table:
        """The list as a table."""
        return Table([[one.item, one.title, round(one.value, 4)] for one in self], ["item", "title", self.value])

    def __str__(self) -> str:
        return str(self.table)

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

"""How a result was computed, as plain data that travels with it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Facts"]


@dataclass(frozen=True)
class Facts:
    """How the values of a surface were computed.

    Attributes:
        way: ``"stacked"``, ``"stacked, features before rows"``, ``"stacked, one kernel for all layers"`` or
            ``"one at a time"``.
        reason: why the points were not stacked, or an empty string.
        rows: rows of data behind every value.
        evaluations: points that were computed.
        points_at_once: how many of them together.
        seconds: wall clock.
        statistics: of batch-norm layers: ``"none"`` (there are no such layers), ``"frozen"``, ``"reestimated"`` or
            ``"interpolated"``.
        parameters: the model's number of parameters.
    """

    way: str
    reason: str
    rows: int
    evaluations: int
    points_at_once: int
    seconds: float
    statistics: str
    parameters: int

    def sentence(self) -> str:
        """Return a sentence for figures and reports.

        >>> Facts("stacked", "", 1000, 625, 8, 0.5, "frozen", 42).sentence()
        '625 points of 42 parameters over 1,000 rows; batch statistics frozen'
        """
        batch = "" if self.statistics == "none" else f"; batch statistics {self.statistics}"
        rows = f"{self.rows:,} row{'' if self.rows == 1 else 's'}"
        return f"{self.evaluations:,} points of {self.parameters:,} parameters over {rows}{batch}"

    def table(self) -> list[list[object]]:
        """Return rows of (name, value) for a notebook."""
        found: list[list[object]] = [
            ["points computed", f"{self.evaluations:,}"],
            ["rows of data", f"{self.rows:,}"],
            ["computed", self.way + (f": {self.reason}" if self.reason else "")],
            ["seconds", f"{self.seconds:.2f}"],
        ]
        return found if self.statistics == "none" else [*found, ["batch statistics", self.statistics]]

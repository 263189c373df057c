"""The closed form over blocks of rows: which sums, how many passes, what accuracy."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

from thalweg.errors import check_number, unknown_name

from .accuracy import AccuracyWarning
from .blocks import Blocks
from .moments import Moments, Precision
from .one_pass import one_pass
from .solution import Solution, from_moments, from_triangle
from .triangle import Triangle

__all__ = ["ClosedForm", "check_closed_form"]

_ACCURACY = {"high": 1e-6, "fast": 1e-2}


def check_closed_form(who: str, precision: object, qr: object, accuracy: float | None) -> None:
    """Raise for settings that cannot work.

    Raises:
        ValueError: an unknown precision, *qr* that is none of its three values, a negative accuracy.
    """
    if precision not in _ACCURACY:
        raise unknown_name(who, "precision", precision, _ACCURACY)
    if qr not in (True, False, "auto"):
        raise ValueError(f"{who}: qr={qr!r} is none of 'auto', True and False; choose one.")
    if accuracy is not None:
        check_number(who, "accuracy", accuracy, low=0.0)


@dataclass(frozen=True)
class ClosedForm:
    """How `LeastSquares` was told to solve; its arguments of the same names.

    Attributes:
        centred: whether there is an intercept.
        progress: whether to show a bar.
    """

    alpha: float
    centred: bool
    precision: Precision
    qr: bool | str
    accuracy: float | None
    progress: bool

    def empty(self, features: int, targets: int, workers: int) -> Moments:
        """Return sums over no rows yet."""
        return Moments(features, targets, precision=self.precision, centred=self.centred, workers=workers)

    def moments(self, who: str, blocks: Blocks) -> Moments:
        """Return the sums over all rows, in one pass."""
        return one_pass(who, blocks, self.empty, progress=self.progress)

    def by_triangle(self, who: str, blocks: Blocks, first: Moments | None = None) -> Solution:
        """Return the solution by QR of all rows, in one pass.

        Args:
            who: who asks, for messages.
            blocks: the rows.
            first: what a pass before has seen, or None.

        Raises:
            ValueError: the pass before has seen other rows.
        """

        def make(features: int, targets: int, workers: int) -> Triangle:
            return Triangle(features, targets, centred=self.centred, workers=workers)

        triangle = one_pass(who, blocks, make, progress=self.progress)
        if first is not None and (
            triangle.rows != first.rows or not math.isclose(triangle.weight, first.weight, rel_tol=1e-6)
        ):
            raise ValueError(
                f"{who}: the first pass gave {first.rows} rows and the second {triangle.rows}, so that the source "
                "has changed in between; let nothing write to it, and fit again."
            )
        return from_triangle(triangle, self.alpha)

    def streamed(self, who: str, blocks: Blocks) -> tuple[Solution, int]:
        """Return the solution and the passes it took: one, or two where the first one's bound is not good enough."""
        if self.qr is True:
            return self.by_triangle(who, blocks), 1
        moments = self.moments(who, blocks)
        solution = from_moments(moments, self.alpha)
        wanted = _ACCURACY[self.precision] if self.accuracy is None else self.accuracy
        if solution.accuracy.relative_error <= wanted:
            return solution, 1
        if self.qr is False:
            warnings.warn(
                f"{who}: {solution.accuracy}, where {wanted:g} was asked for; qr='auto' reads the rows a second time "
                "and does better.",
                AccuracyWarning,
                stacklevel=4,
            )
            return solution, 1
        return self.by_triangle(who, blocks, moments), 2

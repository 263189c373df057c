"""SGD on rows that stay where they lie: one kernel call per batch reads them from the mapped file or window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from thalweg.data import StreamSource

from .blocks import Array
from .c_gradient import GradientKernel, gradient_kernel
from .descent import Descent, check_finite
from .link import Squared

__all__ = ["kernel_of", "over_places"]

_WORTH_COMPILING = 1 << 18
"""Rows of all epochs together from which on the kernel is compiled (a third of a second, once per machine)."""

_LOOK_EVERY = 256  # updates between two looks at the parameters


def kernel_of(descent: Descent, rows: int | None) -> GradientKernel | None:
    """Return the kernel of a descent that will see *rows* rows; None where there is none, or it is not worth it."""
    single = isinstance(descent.link, Squared) and len(descent.weight) == 1
    if not single or rows is None or rows < _WORTH_COMPILING:
        return None
    return gradient_kernel(descent.weight, descent.bias, descent.scale, descent.shift, descent.mean_weight)


def over_places(
    descent: Descent,
    kernel: GradientKernel,
    source: StreamSource,
    epochs: Iterable[Iterable[tuple[Any, Array | range]]],
    who: str,
    advance: Callable[[int], object],
) -> None:
    """Make one update per batch, as `over_batches` does, with rows that *kernel* reads where they lie.

    Nothing looks at the rows themselves. A NaN or an infinity among them makes the parameters NaN for good, which is
    looked for every now and then; the source is then asked for its place.

    Args:
        descent: what is moved.
        kernel: can read the rows of *source*.
        source: names a row that is no number.
        epochs: where the rows of every batch lie and which they are, epoch by epoch.
        who: who asks, for messages.
        advance: called with the rows of every batch.

    Raises:
        ValueError: a value is NaN or infinite, or a weight negative, with file, row and column.
        FloatingPointError: the parameters are no numbers any more, although the rows are.
    """
    controlled = descent.rates.is_controlled

    def look() -> None:
        try:
            check_finite(descent, who)
        except FloatingPointError:
            source.check_values()
            raise

    attached: Any = None
    for batches in epochs:
        losses: list[float] = []
        for rows, place in batches:
            if rows is not attached:
                assert rows.y is not None, "the stream has a target"
                fits = kernel.attach(rows.x, rows.y, rows.w)
                assert fits, "rows of the stream's layout, which the kernel was asked about"
                attached = rows
            if not len(place):
                continue
            kernel(place, descent.ridge)
            if kernel.found[2] < 0:
                source.check_values()
            if controlled:
                losses.append(float(kernel.found[0]))
            if descent.keeper.wants(descent.steps):
                at, loss = descent.compiled_result(kernel)
                descent.keeper.add(descent.steps, *at, loss)
            descent.update()
            advance(len(place))
            if descent.steps % _LOOK_EVERY == 0:
                look()
        look()
        if controlled and losses:
            descent.rates.observe({"loss": float(np.mean(losses))})

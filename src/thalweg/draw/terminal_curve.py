"""A curve as a few lines of text, for a plan in a terminal."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.draw.arrays import Curve, curve
from thalweg.errors import check_number

__all__ = ["terminal_curve"]

#: A braille character is 2 dots wide and 4 high; these are the bits of its dots, row by row (Unicode 15, block 2800).
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_BRAILLE = 0x2800


def _raster(values: Curve, across: int, down: int) -> NDArray[np.bool_]:
    """Return which of ``down × across`` dots the curve touches; row 0 is its highest value.

    Each column is filled from the lowest to the highest value between its two edges, so that neighbouring columns
    always touch and a spike between two columns is still drawn.
    """
    finite = values[np.isfinite(values)]
    grid = np.zeros((down, across), dtype=bool)
    if not finite.size:
        return grid
    low, high = finite.min(), finite.max()
    height = (values - low) / (high - low) if high > low else values * 0 + 0.5
    position = np.arange(values.size)
    edges = np.linspace(0, values.size - 1, across + 1)
    at_edges = np.interp(edges, position, height)
    for column in range(across):
        inside = height[int(np.ceil(edges[column])) : int(np.floor(edges[column + 1])) + 1]
        touched = np.append(inside, at_edges[column : column + 2])
        touched = touched[np.isfinite(touched)]
        if touched.size:
            top = round((1 - touched.max()) * (down - 1))
            bottom = round((1 - touched.min()) * (down - 1))
            grid[top : bottom + 1, column] = True
    return grid


def _rows(values: Curve, across: int, height: int, ascii_only: bool) -> list[str]:
    """Return the *height* lines of text that the raster becomes, top first."""
    if ascii_only:
        return ["".join("*" if dot else " " for dot in row) for row in _raster(values, across, height)]
    grid = _raster(values, 2 * across, 4 * height).reshape(height, 4, across, 2)
    codes = (grid * _DOTS[None, :, None, :]).sum(axis=(1, 3))
    return ["".join(chr(_BRAILLE + code) if code else " " for code in row) for row in codes]


def terminal_curve(
    values: ArrayLike,
    width: int = 64,
    height: int = 6,
    *,
    title: str = "",
    steps: tuple[int, int] | None = None,
    ascii_only: bool = False,
) -> str:
    """Return a curve drawn in braille dots, with its highest and lowest value and its first and last step.

    Values that are not finite are gaps. A curve longer than the dots keeps each column's extremes.

    Args:
        values: shape ``(n,)``, one value per step.
        width: characters per line, labels included, ≥ 24.
        height: lines of the curve itself, ≥ 2; the steps (and a title) take one line each besides.
        title: a line above the curve.
        steps: the steps of the first and the last value, written beneath the curve; ``None``: ``(0, n - 1)``.
        ascii_only: draw with ``*``, ``|`` and ``-`` for terminals without braille.

    Raises:
        TypeError: the values cannot be read as numbers.
        ValueError: they are empty or not one-dimensional, or *width* or *height* is too small.

    >>> print(terminal_curve([0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0], width=24, height=4, ascii_only=True))
    1 |     *****
      |   ***   *****
      | ***         ******
    0 |**                ***
       0                   6
    """
    check_number("terminal_curve", "width", width, low=24)
    check_number("terminal_curve", "height", height, low=2)
    array = curve("terminal_curve", "values", values)
    finite = array[np.isfinite(array)]
    top = f"{finite.max():.3g}" if finite.size else ""
    bottom = f"{finite.min():.3g}" if finite.size and finite.max() > finite.min() else ""
    margin = max(len(top), len(bottom))
    across = width - margin - 2
    wall = "|" if ascii_only else "│"
    rows = _rows(array, across, height, ascii_only)
    labels = [top] + [""] * (height - 2) + [bottom]
    if not bottom:
        # A constant curve runs through the middle, so its one value stands there.
        labels = [top if line == height // 2 else "" for line in range(height)]
    lines = [f"{label:>{margin}} {wall}{row}".rstrip() for label, row in zip(labels, rows, strict=True)]
    begin, end = steps or (0, array.size - 1)
    first, last = f"{begin:,}", f"{end:,}"
    ruler = first if array.size == 1 else f"{first}{last:>{across - len(first)}}"
    lines.append(f"{'':{margin + 2}}{ruler}")
    return "\n".join([title, *lines] if title else lines)

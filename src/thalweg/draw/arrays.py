"""What the figures accept: one-dimensional arrays of equal length, checked once with the project's messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Curve", "aligned", "curve"]

Curve = NDArray[np.float64]


def curve(where: str, name: str, values: ArrayLike) -> Curve:
    """Return *values* as a float64 array of shape ``(n,)``, ``n ≥ 1``.

    Raises:
        TypeError: the values are not numbers.
        ValueError: they are empty or not one-dimensional.

    >>> curve("loss_curve", "loss", [2.0, 1.5])
    array([2. , 1.5])
    >>> curve("loss_curve", "loss", [[2.0], [1.5]])
    Traceback (most recent call last):
    ...
    ValueError: loss_curve: loss has the shape (2, 1) but a curve is one-dimensional; pass an array of shape (n,).
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where}: {name} cannot be read as numbers ({error}); pass an array of floats.") from error
    if array.ndim != 1:
        raise ValueError(
            f"{where}: {name} has the shape {array.shape} but a curve is one-dimensional; pass an array of shape (n,)."
        )
    if array.size == 0:
        raise ValueError(f"{where}: {name} is empty, so that there is nothing to draw; pass at least one value.")
    return array


def aligned(where: str, x_name: str, x: ArrayLike, columns: Mapping[str, Any]) -> tuple[Curve, dict[str, Curve]]:
    """Return *x* and the *columns* as arrays of one length ``(n,)``.

    Raises:
        TypeError: something is not numbers.
        ValueError: a column's length is not that of *x*.

    >>> aligned("rates", "step", [1, 2], {"lr": [0.1, 0.2]})
    (array([1., 2.]), {'lr': array([0.1, 0.2])})
    >>> aligned("rates", "step", [1, 2], {"lr": [0.1]})
    Traceback (most recent call last):
    ...
    ValueError: rates: lr has 1 value, step has 2; one value belongs to each step, so pass arrays of the same length.
    """
    along = curve(where, x_name, x)
    found = {name: curve(where, name, values) for name, values in columns.items()}
    for name, values in found.items():
        if values.size != along.size:
            count = f"{values.size} value{'s' if values.size != 1 else ''}"
            raise ValueError(
                f"{where}: {name} has {count}, {x_name} has {along.size}; one value belongs to each {x_name}, "
                "so pass arrays of the same length."
            )
    return along, found

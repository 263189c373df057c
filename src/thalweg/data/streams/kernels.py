"""Kernels in C that ``engine``, which stands above this package, compiles for it; without them NumPy does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KERNELS", "Kernels", "bind_kernels"]

Array = NDArray[Any]
Integers = NDArray[np.int64]


@dataclass
class Kernels:
    """What can be called; a kernel that has done nothing returns None, and NumPy takes its place.

    Attributes:
        take_rows: (x, y, index, x_out, y_out): copies single rows; whether all are finite.
        columns_to_rows: (places, counts, rows): writes pieces of columns, by their addresses, as rows; the same.
        take_columns: (places, numbers, offsets, rows): writes single rows out of pieces of columns; the same.
        page_headers: (file, start, values): what the page headers of a Parquet column chunk say.
        unpack_dictionary: (page, dictionary, out): writes the values that a page's places stand for; whether it is
            whole.
    """

    take_rows: Callable[[Array, Array | None, Integers, Array, Array | None], bool | None] | None = None
    columns_to_rows: Callable[[Integers, Integers, Array], bool | None] | None = None
    take_columns: Callable[[Integers, Integers, Integers, Array], bool | None] | None = None
    page_headers: Callable[[Array, int, int], Integers | None] | None = None
    unpack_dictionary: Callable[[Array, Array, Array], bool | None] | None = None


KERNELS = Kernels()


def bind_kernels(found: Kernels) -> None:
    """Take up the kernels; called once, by ``engine``."""
    KERNELS.__dict__.update(found.__dict__)

"""The search for NaN and infinite values, and for row weights that cannot be weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["check_finite", "check_row_weight"]


def check_finite(name: str, values: Tensor, columns: Sequence[str] = (), place: str = "") -> None:
    """Raise if a floating-point tensor holds NaN or an infinity.

    One pass and one synchronisation where all is well: a sum is finite only if its terms are. Only when it is not (or
    overflowed) are the values looked at one by one.

    Args:
        name: what the message calls the tensor.
        values: shape **(n, …)**, any dtype.
        columns: names of the second dimension, or none.
        place: a word before the row number, such as ``"the first batch, "``.

    Raises:
        ValueError: with the row, the column and the number of such values.
    """
    if not (values.is_floating_point() or values.is_complex()) or not values.numel():
        return
    wide = values.dtype in (torch.float16, torch.bfloat16)
    if bool(torch.isfinite(values.sum(dtype=torch.float32 if wide else None))):
        return
    bad = ~torch.isfinite(values)
    if not bool(bad.any()):
        return
    count = int(bad.sum())
    row, *rest = bad.nonzero()[0].tolist()
    value = values[(row, *rest)].item()
    where = f"row {row}"
    if len(rest) == 1:
        where += f", column {columns[rest[0]]!r}" if columns else f", column {rest[0]}"
    elif rest:
        where += f", position {tuple(rest)}"
    rows = int(bad.reshape(len(bad), -1).any(1).sum())
    total = "the only such value" if count == 1 else f"{count} such values in {rows} row{'s' if rows > 1 else ''}"
    raise ValueError(
        f"data: {name} is {value} in {place}{where} ({total}), and one such value turns every parameter into NaN; fill "
        "it or drop its row (float64 values beyond 3.4e38 become inf as float32)."
    )


def check_row_weight(row_weight: Tensor, place: str = "") -> None:
    """Raise if a row weight is negative or all of them are zero.

    Raises:
        ValueError: with the row.
    """
    if bool((row_weight < 0).any()):
        row = int((row_weight.flatten() < 0).nonzero()[0])
        raise ValueError(
            f"data: row_weight is {row_weight.flatten()[row].item():g} in {place}row {row}, but a weight says how "
            "often a row counts; give weights >= 0."
        )
    if not place and not bool(row_weight.any()):
        raise ValueError("data: row_weight is 0 in every row, so that no row counts; give some rows a weight > 0.")

"""Nested tuples and dicts of arrays as a flat list of tensors, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .batch import Batch
from .convert import Columns, is_array, to_tensor

__all__ = ["Structure", "flatten"]

Rebuild = Callable[[Sequence[Any]], Batch]


@dataclass(frozen=True)
class Structure:
    """The arrays of a data set, converted once.

    Attributes:
        leaves: the tensors, **(n, …)** each.
        names: what messages call them: ``x``, ``y``, ``x[0]``, ``x['age']``.
        columns: name → the column names of a DataFrame or Arrow table.
        rebuild: puts one value per leaf back into the user's structure.
        is_flat: whether the structure is a plain tuple, so that a tuple of leaves is a batch already.
    """

    leaves: list[Tensor]
    names: list[str]
    columns: dict[str, Columns]
    rebuild: Rebuild
    is_flat: bool


def flatten(data: Any) -> Structure:
    """Return *data* as a `Structure`.

    Args:
        data: an array, or tuples and dicts of arrays, nested as deep as wanted. In ``(x, y, row_weight)`` None stands
            for a part that is not given, and goes from the end.

    Raises:
        TypeError: something in it is no array; the message says where.

    >>> structure = flatten(([0.5, 1.5], {"a": [1, 2]}))
    >>> structure.names
    ['x', "y['a']"]
    >>> structure.rebuild(["first", "second"])
    ('first', {'a': 'second'})
    """
    leaves: list[Tensor] = []
    names: list[str] = []
    columns: dict[str, Columns] = {}

    def leaf(value: Any, name: str) -> Rebuild:
        tensor, labels = to_tensor(value, name)
        index = len(leaves)
        leaves.append(tensor)
        names.append(name)
        if labels:
            columns[name] = labels
        return lambda values: values[index]

    def visit(value: Any, name: str) -> Rebuild:
        if is_array(value):
            return leaf(value, name)
        if isinstance(value, Mapping):
            parts = {key: visit(child, f"{name}[{key!r}]" if name else str(key)) for key, child in value.items()}
            return lambda values: {key: part(values) for key, part in parts.items()}
        if isinstance(value, tuple) or (isinstance(value, list) and not _is_numbers(value)):
            children = [visit(child, f"{name}[{i}]") for i, child in enumerate(value)]
            kind = type(value)
            if isinstance(value, tuple) and hasattr(value, "_fields"):
                return lambda values: kind(*(child(values) for child in children))
            return lambda values: kind(child(values) for child in children)
        if isinstance(value, list):
            return leaf(value, name)
        raise TypeError(
            f"data: {name} is {_said(value)}, not an array; give tensors, NumPy arrays, pandas or Arrow columns, or "
            "lists of numbers."
        )

    if isinstance(data, tuple):
        named = hasattr(data, "_fields")
        given = data if named else _without_trailing_none(data)
        labels = ("x", "y", "row_weight") if len(given) <= 3 else tuple(f"part {i}" for i in range(len(given)))
        before = [visit(part, label) for part, label in zip(given, labels, strict=False)]
        if named:
            return Structure(
                leaves, names, columns, lambda values: type(data)(*(part(values) for part in before)), False
            )
        is_flat = names == list(labels[: len(given)])
        return Structure(leaves, names, columns, lambda values: tuple(part(values) for part in before), is_flat)
    return Structure(leaves, names, columns, visit(data, "" if isinstance(data, Mapping) else "x"), False)


def _without_trailing_none(data: tuple[Any, ...]) -> tuple[Any, ...]:
    end = len(data)
    while end > 1 and data[end - 1] is None:
        end -= 1
    return data[:end]


def _is_numbers(value: list[Any]) -> bool:
    """Return whether a list is numbers, or nested lists of numbers, rather than a list of arrays."""
    first: Any = value
    while isinstance(first, list) and first:
        first = first[0]
    return not is_array(first) and not isinstance(first, (tuple, Mapping))


def _said(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"

"""Row filters as Arrow expressions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thalweg.errors import unknown_name

from .files import WHO

__all__ = ["conditions"]


def conditions(filter: Any, known: Iterable[str], where: str) -> Any:
    """Return *filter* as a ``pyarrow.compute`` expression.

    Args:
        filter: an expression, or (column, operator, value) triples that must all hold; operators ``==``, ``!=``,
            ``<``, ``<=``, ``>``, ``>=``, ``in``, ``not in``, and ``is`` or ``is not`` with None.
        known: the columns there are.
        where: what messages call the file.

    Raises:
        ValueError: an unknown column or operator.
        TypeError: it is neither.
    """
    import pyarrow.compute as compute

    if isinstance(filter, compute.Expression):
        return filter
    triples = [filter] if isinstance(filter, tuple) else filter
    if not isinstance(triples, list) or not all(isinstance(item, tuple) and len(item) == 3 for item in triples):
        raise TypeError(
            f"{WHO}: filter={filter!r} is neither a pyarrow.compute expression nor a list of (column, operator, "
            "value); write e.g. [('price', '>', 0)]."
        )
    names = list(known)
    whole = None
    for name, sign, value in triples:
        if name not in names:
            raise unknown_name(f"{WHO}: {where}: filter", "column", name, names)
        condition = _condition(compute.field(name), sign, value)
        whole = condition if whole is None else whole & condition
    return whole


def _condition(field: Any, sign: str, value: Any) -> Any:
    signs = {
        "==": lambda: field == value,
        "!=": lambda: field != value,
        "<": lambda: field < value,
        "<=": lambda: field <= value,
        ">": lambda: field > value,
        ">=": lambda: field >= value,
        "in": lambda: field.isin(list(value)),
        "not in": lambda: ~field.isin(list(value)),
        "is": lambda: field.is_null(),
        "is not": lambda: ~field.is_null(),
    }
    if sign not in signs:
        raise unknown_name(f"{WHO}: filter", "operator", sign, signs)
    if sign in ("is", "is not") and value is not None:
        raise ValueError(f"{WHO}: filter: {sign!r} compares with None, got {value!r}; write '==' or '!='.")
    return signs[sign]()

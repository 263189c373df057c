"""How a per-step scalar is kept, which only a compiling engine has an opinion on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

__all__ = ["materialise", "materialise_with"]

_keep: list[Callable[[Tensor], Tensor]] = []


def materialise(scalar: Tensor) -> Tensor:
    """Return a 0-dim tensor that many elements will be combined with; as it is, unless an engine asks otherwise."""
    return _keep[-1](scalar) if _keep else scalar


@contextmanager
def materialise_with(keep: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Pass every per-step scalar through *keep* while a graph is traced."""
    _keep.append(keep)
    try:
        yield
    finally:
        _keep.pop()
